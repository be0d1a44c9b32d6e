// Outputs of a frozen text encoder, computed once and kept in a mapped file: GLAMI-1M's way of training on a large
// encoder.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "apps/token_table.h"
#include "models/embracenet.h"

namespace weft {

class TextCache {
 public:
  /// Features of every distinct text of the rows, taken from `file` if it holds just those (same encoder file, texts
  /// and settings), else computed and written there. On disk: distinct texts x features x size of `dtype`, while they
  /// are computed twice that: an interrupted run goes on from the parts in FILE.parts. In memory only what is used.
  TextCache(const EmbraceNetClassifier& model, const std::filesystem::path& encoder_file, const TokenTable& tokens,
            const GlamiTable& table, const std::filesystem::path& file, DType dtype, bool quiet);

  /// Features [n, text features] of some rows.
  Tensor rows(std::span<const uint32_t> rows) const;

 private:
  Tensor features_;                   // [distinct texts, text features], a view of the mapped file
  std::vector<uint32_t> text_of_row_;
};

}  // namespace weft
