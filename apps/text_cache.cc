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

namespace {

constexpr const char* tensor_name = "text_features";
constexpr size_t batch_size = 256, part_size = 16 * batch_size;  // in texts

// The features in a file if it is there and holds just those, else undefined.
Tensor made_before(const std::filesystem::path& file, const std::string& made_from, const Shape& shape, DType dtype) {
  if (!std::filesystem::exists(file)) return {};
  const Safetensors cached(file);
  const auto made = cached.metadata().find("made_from");
  const Safetensors::Entry* entry = cached.find(tensor_name);
  const bool fits = made != cached.metadata().end() && made->second == made_from && entry && entry->shape == shape &&
                    entry->dtype == dtype;
  return fits ? cached.tensor(tensor_name) : Tensor();
}

}  // namespace

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

  if (const Tensor cached = made_before(file, made_from, shape, dtype)) {
    features_ = cached;
    return;
  }

  const std::filesystem::path parts = file.string() + ".parts";
  std::filesystem::create_directories(parts);
  const NoGrad no_grad;
  Progress progress("text encoder", texts, "texts", quiet);
  std::vector<Tensor> made;
  for (size_t begin = 0; begin < first_row.size(); begin += part_size) {
    const size_t end = std::min(begin + part_size, first_row.size());
    const std::filesystem::path part = parts / fmt::format("{:06}.safetensors", made.size());
    const Shape part_shape{static_cast<int64_t>(end - begin), width};
    const std::string part_made_from = fmt::format("{} from text {}", made_from, begin);
    if (!made_before(part, part_made_from, part_shape, dtype)) {
      Tensor features = Tensor::empty(part_shape, dtype);
      for (size_t at = begin; at < end; at += batch_size) {
        check_input(!interrupted(),
                    "interrupted while the text encoder's outputs were being cached; {} of {} texts are kept", begin,
                    texts);
        const std::span<const uint32_t> rows(first_row.data() + at, std::min(batch_size, end - at));
        const TokenizedBatch ids = tokens.batch(rows, model.config.pooling == TextPooling::mean);
        const Tensor some = model.text_features(ids.ids, ids.mask, dtype).to(Device::cpu);
        std::memcpy(static_cast<char*>(features.raw()) + (at - begin) * width * size_of(dtype), some.raw(),
                    static_cast<size_t>(some.nbytes()));
        progress.update(static_cast<int64_t>(at + rows.size()));
      }
      write_safetensors(part, {{tensor_name, features}}, {{"made_from", part_made_from}});
    }
    made.push_back(Safetensors(part).tensor(tensor_name));
  }

  // A safetensors file of its parts, one after the other.
  const char* const type = dtype == DType::bf16 ? "BF16" : "F32";
  const nlohmann::json header = {
      {"__metadata__", {{"made_from", made_from}}},
      {tensor_name,
       {{"dtype", type}, {"shape", {texts, width}}, {"data_offsets", {0, texts * width * size_of(dtype)}}}}};
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  AtomicFile out(file);
  out.write(&length, sizeof length);
  out.write(text);
  for (const Tensor& part : made) out.write(part.raw(), static_cast<size_t>(part.nbytes()));
  out.commit();
  std::filesystem::remove_all(parts);
  features_ = Safetensors(file).tensor(tensor_name);
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
