// weft-evaluate: the accuracy table of a trained model.
#include <cstdio>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <numeric>

#include "apps/classifier.h"
#include "apps/drawing_evaluation.h"
#include "apps/evaluation.h"
#include "apps/program.h"
#include "apps/zeroshot.h"
#include "data/split.h"
#include "kernels/device/waiting.h"
#include "nn/config.h"

int main(int argc, char** argv) {
  using namespace weft;
  set_spinning(argv);
  if (argc > 1 && std::string_view(argv[1]) == "zeroshot") return run_zero_shot(argc - 1, argv + 1);
  if (argc > 1 && std::string_view(argv[1]) == "drawings") return run_drawing_evaluation(argc - 1, argv + 1);
  CLI::App app{
      "Measures a classifier on a folder in GLAMI-1M's format: top-1 and top-5, overall and for each language."};
  app.footer("Example: weft-evaluate --model models/emoji13 --data data/emoji13\n"
             "weft-evaluate zeroshot --help: classification by CLIP's embeddings\n"
             "weft-evaluate drawings --help: what a text-to-image cascade draws");
  std::string model, data, split = "test", labels = "all", json_file;
  std::vector<std::string> modalities{"text+image", "image", "text"};
  int64_t max_broken = 100;
  double image_selection = 0, validation = 0;
  CommonOptions common;
  app.add_option("--model", model, "Model folder")->required();
  app.add_option("--data", data, "Data folder")->required();
  app.add_option("--split", split, "train or test")->check(CLI::IsMember({"train", "test"}))->capture_default_str();
  app.add_option("--labels", labels, "Rows: all, or those labelled by people")
      ->check(CLI::IsMember({"all", "human"}))
      ->capture_default_str();
  app.add_option("--modalities", modalities,
                 "What the model sees: text, image, source, joined with +; may be given several times. A ResNeXt sees "
                 "the image alone")
      ->capture_default_str();
  app.add_option("--validation", validation, "With --split train: only the share that weft-train --validation held out")
      ->check(CLI::Range(0.0, 0.9));
  app.add_option("--image-selection", image_selection,
                 "Selection probability of the image, the text's being 1 (default: the model's)")
      ->check(CLI::PositiveNumber);
  app.add_option("--max-broken", max_broken, "Images that may be unreadable: their items are left out and counted")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--json", json_file, "Also write the figures to this file; - prints them on stdout and nothing else");
  common.add_compute(app);
  common.add_seed(app);
  common.add_quiet(app);
  return run_program(argc, argv, app, [&] {
    EvaluationOptions options;
    options.modalities.clear();
    for (const std::string& name : modalities) {
      try {
        options.modalities.push_back(Modalities::parse(name));
      } catch (const std::invalid_argument& error) {
        throw CLI::ValidationError("--modalities", error.what());
      }
    }
    options.seed = common.seed;
    options.dtype = dtype_from_name(common.dtype);
    options.max_broken = max_broken;
    options.quiet = common.quiet || json_file == "-";
    const Classifier classifier = Classifier::load(model, device_from_name(common.device));
    if (classifier.resnext && app.count("--modalities") == 0) options.modalities = {{false, true, false}};
    if (image_selection > 0 && classifier.embracenet) {
      classifier.embracenet->config.selection[image_modality] = image_selection;
    }
    const CategoryIndex categories = CategoryIndex(classifier.categories());
    const GlamiOptions reading{.human_labels = labels == "human", .categories = &categories};
    const GlamiTable table = read_glami(data, split, reading);
    std::optional<GlamiTable> train;
    std::vector<uint32_t> rows(table.size()), train_rows;
    std::iota(rows.begin(), rows.end(), 0u);
    if (split == "train" && validation > 0) rows = validation_split(table, validation).validation;
    if (split == "test") {
      train = read_glami(data, "train", reading);
      train_rows.resize(train->size());
      std::iota(train_rows.begin(), train_rows.end(), 0u);
    }
    const Evaluation result = evaluate(classifier, table, rows, options, train ? &*train : nullptr, train_rows);
    if (json_file == "-") {
      fmt::print("{}\n", result.to_json().dump(2));
      return;
    }
    fmt::print("{}", result.to_text());
    if (!json_file.empty()) write_json_file(json_file, result.to_json());
  });
}
