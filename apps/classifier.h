// A trained EmbraceNet classifier as programs use it: its folder, its features, its answers.
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/token_table.h"
#include "data/loader.h"
#include "models/embracenet.h"

namespace weft {

/// The modalities that are switched on.
struct Modalities {
  bool text = true, image = true, source = false;

  /// "text+image", "image", "text", also with "+source"; the parts in any order.
  static Modalities parse(const std::string& name);
  std::string name() const;
};

/// A model folder: config.json, model.safetensors, spiece.model.
struct Classifier {
  std::unique_ptr<ParameterSet> parameters;
  std::unique_ptr<EmbraceNetClassifier> model;
  SentencePiece tokenizer;

  /// Reads and checks the whole folder. Errors name the file and the tensor or key.
  static Classifier load(const std::filesystem::path& folder, Device device = Device::cpu);
};

/// Docked text [n, C] of some rows in `dtype`. Rows are taken in the order of their lengths, so that little padding is
/// computed.
Tensor dock_texts(const EmbraceNetClassifier& model, const TokenTable& tokens, std::span<const uint32_t> rows,
                  DType dtype);

/// Images of a batch [N, H, W, 3] as a tensor in `dtype`.
Tensor image_tensor(const std::vector<float>& pixels, int64_t count, int64_t height, int64_t width, DType dtype,
                    Device device);

/// One-hot label sources [n, sources] of some rows.
Tensor source_tensor(const GlamiTable& table, std::span<const uint32_t> rows, int64_t sources, DType dtype,
                     Device device);

/// Weights [rows, 3] that switch the same modalities on for every row, each with its selection probability.
Tensor modality_weights(int64_t rows, const Modalities& modalities,
                        const std::array<double, modality_count>& selection = {1, 1, 1});

}  // namespace weft
