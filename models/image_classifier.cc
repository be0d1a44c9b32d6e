#include "models/image_classifier.h"

#include <nlohmann/json.hpp>

#include "nn/config.h"

namespace weft {

namespace {

ResNextConfig without_classes(ResNextConfig c) {
  c.classes = 0;
  return c;
}

}  // namespace

ImageClassifierConfig ImageClassifierConfig::from_json(const nlohmann::json& json, const std::string& file) {
  ImageClassifierConfig c;
  const ConfigReader read(json, file);
  read.choice("model", {"resnext"});
  c.image = ResNextConfig::from_json(json, file);
  c.image_height = read.integer("image_height", 8, 1 << 13);
  c.image_width = read.integer("image_width", 8, 1 << 13);
  c.categories = read.sorted_texts("categories");
  check_input(!c.categories.empty() && c.image.classes == static_cast<int64_t>(c.categories.size()),
              "{}: {} classes must have a category each but there are {} categories", file, c.image.classes,
              c.categories.size());
  return c;
}

nlohmann::json ImageClassifierConfig::to_json() const {
  nlohmann::json json = image.to_json();
  json.update({{"model", "resnext"},
               {"model_type", "resnext"},
               {"image_height", image_height},
               {"image_width", image_width},
               {"categories", categories}});
  return json;
}

ImageClassifier::ImageClassifier(const Params& p, const ImageClassifierConfig& c, const Safetensors* image_file)
    : config(c), resnext(image_file ? p.from(*image_file) : p, without_classes(c.image)) {
  resnext.config = c.image;
  resnext.fc.emplace(p / "fc", c.image.features(), c.image.classes);
}

}  // namespace weft
