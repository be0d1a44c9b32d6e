// Embeddings of distinct texts or images on disk, each under a key, so that nothing is embedded twice: not within a
// table, not in a second run, and not after an interruption.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tensor/tensor.h"

namespace weft {

/// A folder of files 000000.safetensors, 000001.safetensors, ... each with `keys` i64 [n] and `embeddings` f32 [n, D],
/// written whole or not at all; after an interruption also unfinished.safetensors, the beginning of the next.
class EmbeddingStore {
 public:
  /// Opens what is there. `made_from` says which model and settings make these embeddings; a file of others is an error.
  /// Empty: only to read, from whatever made them.
  explicit EmbeddingStore(std::filesystem::path folder, std::string made_from = "");

  int64_t size() const { return static_cast<int64_t>(row_of_.size()) + static_cast<int64_t>(new_order_.size()); }
  bool has(uint64_t key) const { return row_of_.contains(key) || new_keys_.contains(key); }
  /// embeddings [n, D] of n new keys. Written once there are enough for a file.
  void add(const std::vector<uint64_t>& keys, const Tensor& embeddings);
  /// Writes what is left as the last file.
  void flush();
  /// Keeps what is left so that another run goes on to the same files as if there had been no interruption.
  void keep_unfinished() const;

  /// One file: mapped, in no particular order.
  struct Part {
    Tensor keys, embeddings;
    std::filesystem::path file = {};
  };
  const std::vector<Part>& parts() const { return parts_; }
  /// The embeddings of some keys [n, D], copied; an error that names `what` if one is not there.
  Tensor rows(const std::vector<uint64_t>& keys, const std::string& what) const;
  int64_t width() const { return parts_.empty() ? 0 : parts_[0].embeddings.dim(1); }

  static uint64_t text_key(std::string_view text);
  static uint64_t image_key(int64_t image_id);

 private:
  Part read(const std::filesystem::path& file) const;
  void append(const Part& part);
  void write(const std::filesystem::path& file) const;

  std::filesystem::path folder_;
  std::string made_from_;
  std::vector<Part> parts_;
  std::unordered_map<uint64_t, std::pair<uint32_t, uint32_t>> row_of_;  // part and row
  std::unordered_set<uint64_t> new_keys_;
  std::vector<int64_t> new_order_;  // the same keys, in the order of new_rows_
  std::vector<float> new_rows_;
};

}  // namespace weft
