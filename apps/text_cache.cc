#include "apps/text_cache.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_map>

#include "apps/interrupt.h"
#include "apps/progress.h"
#include "data/hash.h"
#include "tensor/atomic_file.h"
#include "tensor/autograd.h"
#include "tensor/safetensors.h"

namespace weft {

TextCache::TextCache(const EmbraceNetClassifier& model, const std::filesystem::path& encoder_file,
                     const TokenTable& tokens, const GlamiTable& table, const std::filesystem::path& file, DType dtype,
                     bool quiet) {
  std::unordered_map<std::string_view, uint32_t> number;
  std::vector<uint32_t> first_row;
  uint64_t digest =
      mix64(std::filesystem::file_size(encoder_file)) ^
      mix64(static_cast<uint64_t>(std::filesystem::last_write_time(encoder_file).time_since_epoch().count()));
  for (uint32_t row = 0; row < table.size(); ++row) {
    const auto [at, is_new] = number.emplace(table.text(row), static_cast<uint32_t>(first_row.size()));
    if (is_new) {
      first_row.push_back(row);
      digest = mix64(digest ^ hash_text(table.text(row)));
    }
    text_of_row_.push_back(at->second);
  }
  const int64_t width = model.head.config.inputs[text_modality], texts = static_cast<int64_t>(first_row.size());
  const Shape shape{texts, width};
  const std::string made_from = fmt::format("{:016x} max_tokens {}", digest, model.config.max_tokens);

  if (std::filesystem::exists(file)) {
    const Safetensors cached(file);
    const auto made = cached.metadata().find("made_from");
    const Safetensors::Entry* entry = cached.find("text_features");
    if (made != cached.metadata().end() && made->second == made_from && entry && entry->shape == shape &&
        entry->dtype == dtype) {
      features_ = cached.tensor("text_features");
      return;
    }
  }

  // A safetensors file written as it grows: the header can be written first, since all sizes are known.
  const char* const type = dtype == DType::bf16 ? "BF16" : "F32";
  const nlohmann::json header = {
      {"__metadata__", {{"made_from", made_from}}},
      {"text_features",
       {{"dtype", type}, {"shape", {texts, width}}, {"data_offsets", {0, texts * width * size_of(dtype)}}}}};
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  AtomicFile out(file);
  out.write(&length, sizeof length);
  out.write(text);
  const NoGrad no_grad;
  Progress progress("text encoder", texts, "texts", quiet);
  constexpr size_t batch = 256;
  for (size_t begin = 0; begin < first_row.size(); begin += batch) {
    check_input(!interrupted(), "interrupted while the text encoder's outputs were being cached; nothing was kept");
    const std::span<const uint32_t> part(first_row.data() + begin, std::min(batch, first_row.size() - begin));
    const TokenizedBatch texts_of_part = tokens.batch(part, model.config.pooling == TextPooling::mean);
    const Tensor features = model.text_features(texts_of_part.ids, texts_of_part.mask, dtype).to(Device::cpu);
    out.write(features.raw(), static_cast<size_t>(features.nbytes()));
    progress.update(static_cast<int64_t>(begin + part.size()));
  }
  out.commit();
  features_ = Safetensors(file).tensor("text_features");
}

Tensor TextCache::rows(std::span<const uint32_t> rows) const {
  const int64_t bytes = features_.dim(1) * size_of(features_.dtype());
  Tensor result = Tensor::empty({static_cast<int64_t>(rows.size()), features_.dim(1)}, features_.dtype());
  for (size_t i = 0; i < rows.size(); ++i) {
    std::memcpy(static_cast<char*>(result.raw()) + i * bytes,
                static_cast<const char*>(features_.raw()) + text_of_row_[rows[i]] * bytes, bytes);
  }
  return result;
}

}  // namespace weft
