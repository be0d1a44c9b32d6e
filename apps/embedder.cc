#include "apps/embedder.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/clip_pixels.h"
#include "data/hash.h"
#include "data/resize.h"
#include "kernels/cast.h"
#include "models/text_pooling.h"
#include "nn/config.h"
#include "tensor/autograd.h"

namespace weft {

namespace {

// Which weights a folder holds, without reading all of them: the config, the file's size and its last bytes.
std::string fingerprint(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "model.safetensors";
  const auto bytes = static_cast<int64_t>(std::filesystem::file_size(file));
  std::string tail(static_cast<size_t>(std::min<int64_t>(bytes, 1 << 16)), '\0');
  std::ifstream in(file, std::ios::binary);
  in.seekg(bytes - static_cast<int64_t>(tail.size()));
  check_input(static_cast<bool>(in.read(tail.data(), static_cast<std::streamsize>(tail.size()))), "{}: cannot be read",
              file.string());
  const uint64_t config = hash_text(read_json_file(folder / "config.json").dump());
  return fmt::format("{:016x}", mix64(hash_text(tail) ^ config ^ mix64(static_cast<uint64_t>(bytes))));
}

// A folder of mT5 whose config.json does not say so, as weft-train writes it, has mT5's tokenizer all the same.
Tokenizer load_tokenizer(const std::filesystem::path& folder, Architecture architecture) {
  Tokenizer tokenizer = Tokenizer::load(folder);
  SentencePiece* pieces = std::get_if<SentencePiece>(&tokenizer.kind());
  if (!pieces || architecture != Architecture::t5) return tokenizer;
  return Tokenizer(T5Tokenizer(std::move(*pieces), (folder / "spiece.model").string()));
}

struct Tokens {
  Tensor ids, mask;  // i64 and bool [n, max_tokens]
};

Tokens tokens_of(const Tokenizer& tokenizer, std::span<const std::string> texts, int64_t max_tokens) {
  const TokenBatch batch = tokenizer.encode_padded(texts, static_cast<size_t>(max_tokens));
  const Shape shape{static_cast<int64_t>(batch.count), static_cast<int64_t>(batch.length)};
  const Tensor mask = Tensor::empty(shape, DType::boolean);
  std::copy(batch.mask.begin(), batch.mask.end(), mask.data<bool>());
  return {Tensor::from(std::vector<int64_t>(batch.ids.begin(), batch.ids.end()), shape), mask};
}

// The end of `made_from`.
std::string_view name_of(HiddenStates hidden) {
  switch (hidden) {
    case HiddenStates::refused: return "";
    case HiddenStates::whole: return ", hidden states";
    case HiddenStates::flatten: return ", flattened";
    case HiddenStates::mean: return ", their mean";
  }
  return "";
}

// What GLAMI-1M's loader makes of an image for the ResNeXt.
constexpr int glami_height = 298, glami_width = 228;

}  // namespace

TextEmbedder::TextEmbedder(const std::filesystem::path& folder, int64_t longest, DType dtype, Device device,
                           HiddenStates wanted)
    : tower(TextTower::load(folder, device)),
      tokenizer(load_tokenizer(folder, tower.architecture)),
      max_tokens(std::min(longest, tower.max_tokens)),
      dtype(dtype),
      hidden(tower.sequence ? wanted : HiddenStates::refused),
      made_from(fmt::format("{} {} with {} tokens in {}{}", name_of(tower.architecture), fingerprint(folder),
                            max_tokens, dtype, name_of(hidden))) {
  check_input(!tower.sequence || hidden != HiddenStates::refused,
              "{}: {} gives no embedding of a whole text: CLIP or multilingual CLIP was expected", folder.string(),
              name_of(tower.architecture));
  check_input(tokenizer.size() <= tower.vocabulary, "{}: a tokenizer of at most {} pieces was expected but it has {}",
              folder.string(), tower.vocabulary, tokenizer.size());
}

Shape TextEmbedder::shape() const {
  switch (hidden) {
    case HiddenStates::whole: return {max_tokens, tower.width};
    case HiddenStates::flatten: return {max_tokens * tower.width};
    case HiddenStates::mean:
    case HiddenStates::refused: return {tower.width};
  }
  return {};
}

Tensor TextEmbedder::operator()(std::span<const std::string> texts) const {
  const NoGrad no_grad;
  const Tokens tokens = tokens_of(tokenizer, texts, max_tokens);
  const Tensor y = tower.embed(tokens.ids, tokens.mask, dtype);
  if (hidden == HiddenStates::refused) return y;
  if (hidden == HiddenStates::mean) return pool_text(y, tokens.mask, TextPooling::mean);
  const Tensor flat = pool_text(y, tokens.mask, TextPooling::flatten);
  return hidden == HiddenStates::flatten ? flat : flat.reshape(y.shape());
}

Tensor TextEmbedder::mask(std::span<const std::string> texts) const {
  return tokens_of(tokenizer, texts, max_tokens).mask;
}

ImageEmbedder::ImageEmbedder(const std::filesystem::path& folder, DType dtype, Device device)
    : tower(ImageTower::load(folder, device)),
      dtype(dtype),
      device(device),
      made_from(fmt::format("{} {} in {}", name_of(tower.architecture), fingerprint(folder), dtype)) {}

std::vector<float> ImageEmbedder::prepare(const Image& image) const {
  return tower.side ? clip_pixels(image, static_cast<int>(tower.side))
                    : resize_bilinear_antialias(image, glami_height, glami_width);
}

Tensor ImageEmbedder::operator()(std::span<const std::vector<float>> prepared) const {
  const NoGrad no_grad;
  const Tensor batch = Tensor::empty({static_cast<int64_t>(prepared.size()), tower.side ? tower.side : glami_height,
                                      tower.side ? tower.side : glami_width, 3});
  float* to = batch.data<float>();
  for (const std::vector<float>& pixels : prepared) to = std::copy(pixels.begin(), pixels.end(), to);
  return tower.embed(cast(batch, dtype).to(device));
}

}  // namespace weft
