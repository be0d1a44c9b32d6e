// Pretrained encoders as programs use them: a model folder becomes a function from a batch to embeddings.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "nn/params.h"

namespace weft {

/// What config.json says that a folder holds.
enum class Architecture { clip, multilingual_clip, xlm_roberta, t5, resnext };

/// Told by its keys; an error that names the file if it is none of them.
Architecture architecture_of(const nlohmann::json& config, const std::string& file);
std::string_view name_of(Architecture architecture);

/// Images [N, H, W, 3], normalised as the model wants them, -> embeddings [N, width], not normalised.
struct ImageTower {
  Architecture architecture;
  int64_t width = 0;
  int64_t side = 0;  // images must be square with that side; 0: any size
  std::function<Tensor(const Tensor& images)> embed;
  std::shared_ptr<const ParameterSet> parameters;

  /// CLIP's image tower, or a ResNeXt without its classification layer.
  static ImageTower load(const std::filesystem::path& folder, Device device);
};

/// Token ids i64 [B, T] and mask bool [B, T] -> embeddings [B, width], or of a `sequence` model hidden states
/// [B, T, width].
struct TextTower {
  Architecture architecture;
  int64_t width = 0;
  int64_t max_tokens = 0;  // the longest text that the model can read
  int64_t vocabulary = 0;
  bool sequence = false;
  std::function<Tensor(const Tensor& ids, const Tensor& mask, DType dtype)> embed;
  std::shared_ptr<const ParameterSet> parameters;

  /// CLIP's text tower (which finds the end of a text by itself and looks at no mask), multilingual CLIP's, XLM-RoBERTa
  /// or mT5's encoder.
  static TextTower load(const std::filesystem::path& folder, Device device);
};

}  // namespace weft
