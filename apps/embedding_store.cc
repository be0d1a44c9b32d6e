#include "apps/embedding_store.h"

#include <algorithm>

#include "data/hash.h"
#include "tensor/atomic_file.h"
#include "tensor/safetensors.h"

namespace weft {

namespace {

constexpr const char* unfinished = "unfinished.safetensors";

// 16384, or less where they are long.
size_t rows_of_a_file(int64_t width) {
  constexpr size_t most = 16384, most_bytes = size_t{1} << 28;
  return std::clamp(most_bytes / (sizeof(float) * static_cast<size_t>(width)), size_t{1}, most);
}

std::string file_name(size_t number) { return fmt::format("{:06}.safetensors", number); }

}  // namespace

uint64_t EmbeddingStore::text_key(std::string_view text) { return hash_text(text); }
uint64_t EmbeddingStore::image_key(int64_t image_id) { return static_cast<uint64_t>(image_id); }

EmbeddingStore::EmbeddingStore(std::filesystem::path folder, std::string made_from)
    : folder_(std::move(folder)), made_from_(std::move(made_from)) {
  for (size_t number = 0; std::filesystem::exists(folder_ / file_name(number)); ++number) {
    append(read(folder_ / file_name(number)));
  }
  if (!std::filesystem::exists(folder_ / unfinished)) return;
  const Part part = read(folder_ / unfinished);
  const int64_t* keys = part.keys.data<int64_t>();
  // It may have become a file just before a crash.
  if (part.keys.numel() == 0 || row_of_.contains(static_cast<uint64_t>(keys[0]))) return;
  if (made_from_.empty()) {
    append(part);
    return;
  }
  new_order_.assign(keys, keys + part.keys.numel());
  new_keys_.insert(new_order_.begin(), new_order_.end());
  new_rows_.assign(part.embeddings.data<float>(), part.embeddings.data<float>() + part.embeddings.numel());
}

EmbeddingStore::Part EmbeddingStore::read(const std::filesystem::path& file) const {
  const Safetensors mapped(file);
  const auto made = mapped.metadata().find("made_from");
  const std::string found = made == mapped.metadata().end() ? "nothing known" : made->second;
  check_input(made_from_.empty() || found == made_from_,
              "{}: embeddings made from {} were expected but these are from {}: choose another folder", file.string(),
              made_from_, quote(found));
  const Part part{mapped.tensor("keys"), mapped.tensor("embeddings"), file};
  check_input(part.keys.dtype() == DType::i64 && part.keys.rank() == 1 && part.embeddings.dtype() == DType::f32 &&
                  part.embeddings.rank() == 2 && part.embeddings.dim(0) == part.keys.dim(0) &&
                  (parts_.empty() || part.embeddings.dim(1) == width()),
              "{}: keys i64 [n] and embeddings f32 [n, D] were expected but they are {} {} and {} {}", file.string(),
              part.keys.dtype(), part.keys.shape(), part.embeddings.dtype(), part.embeddings.shape());
  return part;
}

void EmbeddingStore::append(const Part& part) {
  for (int64_t i = 0; i < part.keys.numel(); ++i) {
    row_of_.emplace(static_cast<uint64_t>(part.keys.data<int64_t>()[i]),
                    std::pair(static_cast<uint32_t>(parts_.size()), static_cast<uint32_t>(i)));
  }
  parts_.push_back(part);
}

void EmbeddingStore::add(const std::vector<uint64_t>& keys, const Tensor& embeddings) {
  check(embeddings.rank() == 2 && embeddings.dim(0) == static_cast<int64_t>(keys.size()),
        "[embedding_store] one embedding a key was expected but there are {} keys and {}", keys.size(),
        embeddings.shape());
  const Tensor rows = Tensor::empty(embeddings.shape(), DType::f32);
  rows.copy_from(embeddings.to(Device::cpu));
  new_keys_.insert(keys.begin(), keys.end());
  new_order_.insert(new_order_.end(), keys.begin(), keys.end());
  new_rows_.insert(new_rows_.end(), rows.data<float>(), rows.data<float>() + rows.numel());
  if (new_order_.size() >= rows_of_a_file(rows.dim(1))) flush();
}

void EmbeddingStore::write(const std::filesystem::path& file) const {
  const int64_t n = static_cast<int64_t>(new_order_.size());
  const Tensor keys = Tensor::from(new_order_, {n});
  const Tensor rows = Tensor::from(new_rows_, {n, static_cast<int64_t>(new_rows_.size()) / n});
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  check_input(!error, "{}: the folder cannot be made: {}", folder_.string(), error.message());
  write_safetensors(file, {{"keys", keys}, {"embeddings", rows}}, {{"made_from", made_from_}});
}

void EmbeddingStore::keep_unfinished() const {
  if (!new_order_.empty()) write(folder_ / unfinished);
}

void EmbeddingStore::flush() {
  if (!new_order_.empty()) {
    const std::filesystem::path file = folder_ / file_name(parts_.size());
    write(file);
    new_keys_.clear();
    new_order_.clear();
    new_rows_.clear();
    append(read(file));
  }
  std::error_code error;
  std::filesystem::remove(folder_ / unfinished, error);
}

Tensor EmbeddingStore::rows(const std::vector<uint64_t>& keys, const std::string& what) const {
  const Tensor result = Tensor::empty({static_cast<int64_t>(keys.size()), width()});
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto found = row_of_.find(keys[i]);
    check_input(found != row_of_.end(), "{}: the embedding of {} is missing: run weft-embed on this data", folder_.string(),
                what);
    const auto [part, row] = found->second;
    std::copy_n(parts_[part].embeddings.data<float>() + row * width(), width(),
                result.data<float>() + static_cast<int64_t>(i) * width());
  }
  return result;
}

}  // namespace weft
