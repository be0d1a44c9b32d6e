// Texts and images as users have them -> embeddings: a tower with its tokenizer or its preprocessing.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "apps/tower.h"
#include "data/image.h"
#include "tokenizer/tokenizer.h"

namespace weft {

/// What becomes of the hidden states [T, D] of a model that gives no embedding of a whole text (mT5, XLM-RoBERTa).
enum class HiddenStates {
  refused,
  whole,    // all of them [T, D], T being max_tokens; zeros where there is no token
  flatten,  // the same side by side [T * D], what an EmbraceNet reads
  mean,     // their average over the tokens [D]
};

struct TextEmbedder {
  TextTower tower;
  Tokenizer tokenizer;
  int64_t max_tokens;  // texts are cut to so many, special tokens included
  DType dtype;
  HiddenStates hidden;    // `refused` where the model gives an embedding
  std::string made_from;  // model and settings, for an EmbeddingStore

  /// A folder with config.json, model.safetensors and the tokenizer's files. `max_tokens` above what the model reads
  /// counts as that.
  TextEmbedder(const std::filesystem::path& folder, int64_t max_tokens, DType dtype, Device device,
               HiddenStates hidden = HiddenStates::refused);
  /// Of one text: [width], or what `hidden` says.
  Shape shape() const;
  /// [n, shape()...] in `dtype`.
  Tensor operator()(std::span<const std::string> texts) const;
  /// bool [n, max_tokens]: where a text has a token.
  Tensor mask(std::span<const std::string> texts) const;
};

struct ImageEmbedder {
  ImageTower tower;
  DType dtype;
  Device device;
  std::string made_from;

  ImageEmbedder(const std::filesystem::path& folder, DType dtype, Device device);
  /// The pixels that the model reads, of an image of any size; throws where its sides are too unequal.
  std::vector<float> prepare(const Image& image) const;
  /// Prepared images -> [n, width] in `dtype`.
  Tensor operator()(std::span<const std::vector<float>> prepared) const;
};

}  // namespace weft
