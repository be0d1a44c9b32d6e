// y = x in another dtype.
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// x of any dtype -> the same values rounded to `dtype`; x itself if it has that dtype already. Differentiable between
/// floating dtypes. A boolean is x != 0; a floating value that an integer dtype cannot hold gives an unspecified
/// integer.
Tensor cast(const Tensor& x, DType dtype);

}  // namespace weft
