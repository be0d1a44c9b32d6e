// A trained cascade as programs use it: its folder, its texts, its pictures.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/image.h"
#include "models/cascade.h"
#include "models/t5_encoder.h"
#include "tokenizer/sentencepiece.h"

namespace weft {

/// A T5 encoder with its weights.
struct TextEncoder {
  std::unique_ptr<ParameterSet> parameters;
  std::unique_ptr<T5Encoder> model;

  /// From a folder with a T5 encoder (config.json, model.safetensors) or with an EmbraceNet model, whose encoder is
  /// taken. Frozen.
  static TextEncoder load(const std::filesystem::path& folder, Device device = Device::cpu);
};

/// A model folder: config.json, model.safetensors (`unets.`), and unless the texts come as embeddings spiece.model and
/// text_encoder/.
struct TextToImage {
  std::unique_ptr<ParameterSet> parameters;
  std::unique_ptr<Cascade> cascade;
  std::optional<SentencePiece> tokenizer;
  std::optional<TextEncoder> encoder;

  /// Reads and checks the whole folder. Errors name the file and the tensor or key.
  static TextToImage load(const std::filesystem::path& folder, Device device = Device::cpu);
};

struct EncodedTexts {
  TextBatch batch;                 // one row a text; a text without tokens has no true in its row of the mask
  std::vector<size_t> cut, empty;  // texts that were too long, and those that are empty
};

/// Texts as ids, at most `max_tokens` with the end of sentence, through the encoder.
EncodedTexts encode_texts(const SentencePiece& tokenizer, const T5Encoder& encoder, std::span<const std::string> texts,
                          int64_t max_tokens, DType dtype);

/// Normal noise that row b of a batch draws from a stream of its own, seeded by seeds[b]: the same picture in any
/// batch.
NoiseSource seeded_noise(std::vector<uint64_t> seeds);

/// Bytes that drawing takes, estimated: the program, weights, their copies in the dtype of the computation, and the
/// tensors of a step. `unets`: how many of the UNets take part, from the first; the others' weights stay in their file.
int64_t sampling_bytes(const TextToImage& model, int64_t rows, bool guided, DType dtype, int64_t unets);

/// One picture for each text, whose noise comes from the seed beside it, in parts of `batch` pictures. `on_step` hears
/// of every step.
std::vector<Image> draw_pictures(const TextToImage& model, std::span<const std::string> texts,
                                 std::span<const uint64_t> seeds, const SamplingOptions& options, int64_t batch,
                                 const SamplingCallback& on_step = {});

/// Picture `index` of a batch [B, H, W, 3] in [0, 1]. glami cuts off where it should round, as the original's way
/// through PIL does.
Image to_image(const Tensor& pictures, int64_t index, Compat compat);

/// The same of x0 in [-1, 1].
Image guess_image(const Tensor& x0, int64_t index);

}  // namespace weft
