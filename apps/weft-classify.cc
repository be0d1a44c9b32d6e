// weft-classify: the category of one item, from its picture, its text, or both.
#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "apps/classifier.h"
#include "apps/program.h"
#include "kernels/device/waiting.h"
#include "data/orientation.h"
#include "data/resize.h"
#include "kernels/cast.h"
#include "kernels/reduce.h"
#include "kernels/softmax.h"
#include "tensor/autograd.h"

int main(int argc, char** argv) {
  using namespace weft;
  set_spinning(argv);
  CLI::App app{"Names the category of one item, from its image, its text, or both."};
  app.footer("Example: weft-classify --model models/emoji13 --image shoe.jpg --text \"tenisky\" --geo cz");
  std::string model, image_file, text, geo;
  int64_t top = 5;
  CommonOptions common;
  app.add_option("--model", model, "Model folder")->required();
  app.add_option("--image", image_file, "A JPEG or PNG; one from a camera is turned upright");
  app.add_option("--text", text, "Name and description, in any of the 13 languages; not for a ResNeXt");
  app.add_option("--geo", geo, "Country of the text (cz, sk, ...); checked, but the model does not look at it");
  app.add_option("--top", top, "Answers")->check(CLI::Range(1, 1000))->capture_default_str();
  common.add_compute(app);
  common.add_json(app);
  return run_program(argc, argv, app, [&] {
    if (image_file.empty() && app.count("--text") == 0)
      throw CLI::ValidationError("weft-classify", "--image, --text or both must be given");
    if (!geo.empty() && !find_geo(geo))
      throw CLI::ValidationError(
          "--geo", "one of cz sk ro gr si hu hr es lt lv tr ee bg was expected but '" + geo + "' was given");
    const DType dtype = dtype_from_name(common.dtype);
    const Classifier classifier = Classifier::load(model, device_from_name(common.device));
    const Modalities present{app.count("--text") > 0, !image_file.empty(), false};
    classifier.check_reads(present);
    const NoGrad no_grad;
    Tensors docked(modality_count);
    if (present.text) {
      const EmbraceNetClassifier& net = *classifier.embracenet;
      const TokenTable tokens(*classifier.tokenizer, text, net.config.max_tokens);
      const uint32_t row[] = {0};
      docked[text_modality] = dock_texts(net, tokens, row, dtype);
    }
    if (present.image) {
      const int h = static_cast<int>(classifier.image_height()), w = static_cast<int>(classifier.image_width());
      docked[image_modality] = classifier.dock_images(image_tensor(
          resize_bilinear_antialias(read_upright_image(image_file), h, w), 1, h, w, dtype, classifier.device()));
    }
    const Tensor logits = classifier.logits(classifier.join(docked), present, nullptr);
    const TopK best = topk(softmax(cast(logits.to(Device::cpu), DType::f32)), std::min<int64_t>(top, logits.dim(1)));
    nlohmann::json answers = nlohmann::json::array();
    for (int64_t i = 0; i < best.values.numel(); ++i) {
      const std::string& name = classifier.categories()[best.indices.data<int64_t>()[i]];
      const double probability = best.values.data<float>()[i];
      if (common.json)
        answers.push_back({{"category", name}, {"probability", probability}});
      else
        fmt::print("{:.3f}  {}\n", probability, name);
    }
    if (common.json) fmt::print("{}\n", nlohmann::json{{"predictions", answers}}.dump());
  });
}
