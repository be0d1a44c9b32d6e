// Pooling of NHWC images.
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// x [N, H, W, C] -> [N, OH, OW, C], OH = (H + 2 padding - kernel) / stride + 1: the largest value of each kernel x
/// kernel window; the first in reading order where several are equal. The border counts as minus infinity; a NaN in a
/// window gives NaN. kernel <= 15, padding <= kernel / 2.
Tensor max_pool2d(const Tensor& x, int kernel, int stride, int padding = 0);

/// x [N, H, W, C] -> [N, C]: the mean over H and W.
Tensor global_average_pool(const Tensor& x);

}  // namespace weft
