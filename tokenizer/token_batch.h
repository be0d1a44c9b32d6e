// Texts as a model takes them: ids of equal length with a mask.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace weft {

/// Texts cut to the same length, row-major [count, length]. mask is 1 where there is a token and 0 where there is
/// padding.
struct TokenBatch {
  std::size_t count = 0, length = 0;
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> mask;

  TokenBatch(std::size_t count, std::size_t length, std::int32_t pad_id)
      : count(count), length(length), ids(count * length, pad_id), mask(count * length, 0) {}

  /// Writes the first `length` of `row_ids` to a row of padding.
  void set_row(std::size_t row, std::span<const int> row_ids) {
    const std::size_t kept = std::min(row_ids.size(), length);
    std::copy_n(row_ids.begin(), kept, ids.begin() + row * length);
    std::fill_n(mask.begin() + row * length, kept, 1);
  }
};

}  // namespace weft
