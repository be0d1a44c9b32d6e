// EmbraceNet (Choi and Lee 2019, "EmbraceNet: a robust deep learning architecture for multimodal classification",
// section 3) as GLAMI-1M's benchmark uses it: text, image and label source, classified into the categories of fashion.
// Parameter names are the benchmark's (`embracenet.docking_{0,1,2}`, `post`, the image tower under `pre_2`); a text
// tower trained along is `text_encoder`.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <memory>
#include <optional>

#include "models/resnext.h"
#include "models/t5_encoder.h"
#include "models/text_pooling.h"

namespace weft {

enum Modality : int { text_modality, image_modality, source_modality };
inline constexpr int modality_count = 3;

struct EmbraceNetConfig {
  std::array<int64_t, modality_count> inputs{16384, 2048, 5};  // features of each modality
  int64_t embracement = 512;
  int64_t classes = 191;
};

struct EmbraceNet {
  EmbraceNetConfig config;
  std::vector<Linear> docking;  // one a modality
  Linear post;

  EmbraceNet(const Params& p, const EmbraceNetConfig& config);
  /// Features of one modality [B, inputs] -> ReLU(Linear) [B, embracement].
  Tensor dock(Modality modality, const Tensor& features) const;
  /// Docked modalities [B, 3, embracement] and their weights [B, 3] (availability times selection probability) ->
  /// logits [B, classes]. With `random` one modality is drawn for each position (the paper), without it the expectation
  /// is taken.
  Tensor operator()(const Tensor& docked, const Tensor& weights, Random* random) const;
};

/// Everything that config.json of a classifier says.
struct ClassifierConfig {
  T5Config text;
  ResNextConfig image;
  int64_t embracement = 512;
  int64_t max_tokens = 32;
  int64_t image_height = 298, image_width = 228;
  TextPooling pooling = TextPooling::flatten;
  std::array<double, modality_count> selection{1, 1,
                                               1};  // EmbraceNet's selection probabilities at inference, not normalised
  bool text_frozen = false;  // the text encoder was pretrained and is not trained along
  std::vector<std::string> categories, label_sources;

  EmbraceNetConfig head() const;
  static ClassifierConfig from_json(const nlohmann::json& json, const std::string& file);
  nlohmann::json to_json() const;
};

/// The two towers and the head that joins them.
struct EmbraceNetClassifier {
  ClassifierConfig config;
  T5Encoder text_encoder;
  ResNext image_encoder;
  EmbraceNet head;

  /// A frozen text encoder is read from `text_file`, a tower to fine-tune starts from `image_file`; null: p's values.
  EmbraceNetClassifier(const Params& p, const ClassifierConfig& config, const Safetensors* text_file = nullptr,
                       const Safetensors* image_file = nullptr);

  /// Where the parameters are, and so where inputs belong; ids, masks and weights of modalities may stay on the cpu.
  Device device() const { return head.post.weight.device(); }
  /// ids i64 [B, T], mask bool [B, T] -> [B, text features].
  Tensor text_features(const Tensor& ids, const Tensor& mask, DType dtype, Random* random = nullptr) const;
};

/// Joins docked modalities [B, C] into [B, 3, C]; a modality that is absent is undefined and becomes zeros.
Tensor stack_modalities(const Tensors& docked);

}  // namespace weft
