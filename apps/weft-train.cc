// weft-train: trains the models. `weft-train embracenet` and `resnext` are System 1 of GLAMI-1M, `weft-train cascade`
// System 3.
#include "apps/cascade_training.h"
#include "apps/program.h"
#include "apps/training.h"
#include "kernels/device/waiting.h"

int main(int argc, char** argv) {
  using namespace weft;
  set_spinning(argv);
  CLI::App app{"Trains a model."};
  app.footer("Example: weft-train embracenet --data data/emoji13 --out models/emoji13");
  app.require_subcommand(1);
  TrainingCommand embracenet(app, argc, argv, ClassifierKind::embracenet);
  TrainingCommand resnext(app, argc, argv, ClassifierKind::resnext);
  CascadeCommand cascade(app, argc, argv);
  return run_program(argc, argv, app, [&] {
    if (cascade.chosen()) return cascade.run();
    (resnext.chosen() ? resnext : embracenet).run();
  });
}
