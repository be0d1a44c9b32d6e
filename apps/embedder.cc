#include "apps/embedder.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/clip_pixels.h"
#include "data/hash.h"
#include "data/resize.h"
#include "kernels/cast.h"
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

// What GLAMI-1M's loader makes of an image for the ResNeXt.
constexpr int glami_height = 298, glami_width = 228;

}  // namespace

TextEmbedder::TextEmbedder(const std::filesystem::path& folder, int64_t longest, DType dtype, Device device)
    : tower(TextTower::load(folder, device)),
      tokenizer(Tokenizer::load(folder)),
      max_tokens(std::min(longest, tower.max_tokens)),
      dtype(dtype),
      made_from(fmt::format("{} {} with {} tokens in {}", name_of(tower.architecture), fingerprint(folder), max_tokens, dtype)) {
  check_input(!tower.sequence, "{}: {} gives no embedding of a whole text: CLIP or multilingual CLIP was expected",
              folder.string(), name_of(tower.architecture));
  check_input(tokenizer.size() <= tower.vocabulary, "{}: a tokenizer of at most {} pieces was expected but it has {}",
              folder.string(), tower.vocabulary, tokenizer.size());
}

Tensor TextEmbedder::operator()(std::span<const std::string> texts) const {
  const NoGrad no_grad;
  const TokenBatch batch = tokenizer.encode_padded(texts, static_cast<size_t>(max_tokens));
  const Shape shape{static_cast<int64_t>(batch.count), static_cast<int64_t>(batch.length)};
  const Tensor ids = Tensor::from(std::vector<int64_t>(batch.ids.begin(), batch.ids.end()), shape);
  const Tensor mask = Tensor::empty(shape, DType::boolean);
  std::copy(batch.mask.begin(), batch.mask.end(), mask.data<bool>());
  return tower.embed(ids, mask, dtype);
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
