// An image alone to category: a ResNeXt with a classification layer, the image-only row of GLAMI-1M's benchmark.
// Parameter names are torchvision's, so a folder of it also serves as pretrained ResNeXt.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

#include "models/resnext.h"

namespace weft {

/// Everything that config.json of an image classifier says.
struct ImageClassifierConfig {
  ResNextConfig image;  // `classes` is the number of categories
  int64_t image_height = 298, image_width = 228;
  std::vector<std::string> categories;

  static ImageClassifierConfig from_json(const nlohmann::json& json, const std::string& file);
  nlohmann::json to_json() const;
};

struct ImageClassifier {
  ImageClassifierConfig config;
  ResNext resnext;

  /// To fine-tune, everything but the classification layer starts from `image_file`; null: p's values.
  ImageClassifier(const Params& p, const ImageClassifierConfig& config, const Safetensors* image_file = nullptr);

  Device device() const { return resnext.fc->weight.device(); }
  /// Images [N, H, W, 3] -> logits [N, categories].
  Tensor operator()(const Tensor& images) const { return resnext(images); }
};

}  // namespace weft
