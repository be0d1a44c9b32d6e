// Texts as a model takes them: ids of equal length with a mask.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace weft {

/// Texts cut to the same length, row-major [count, length]. mask is 1 where there is a token and 0 where there is
/// padding.
struct TokenBatch {
  std::size_t count = 0, length = 0;
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> mask;
};

}  // namespace weft
