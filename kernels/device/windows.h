// The windows of a pooling, for both halves of pool.
#pragma once

#include <cstdint>

namespace weft {

/// x [n, h, w, c] -> y [n, oh, ow, c].
struct Windows {
  int64_t n, h, w, c, oh, ow, kernel, stride, padding;
};

}  // namespace weft
