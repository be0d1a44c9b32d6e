// How the axes of a permuted tensor lie in the original, for both halves of arrange.
#pragma once

#include "tensor/shape.h"

namespace weft {

/// The axes of a permuted result, outermost first, with neighbours joined that are neighbours in x too. In elements.
struct Permuted {
  int rank = 0;
  int64_t extent[Shape::max_rank] = {}, from[Shape::max_rank] = {},
          to[Shape::max_rank] = {};  // stride in x, stride in y
};

}  // namespace weft
