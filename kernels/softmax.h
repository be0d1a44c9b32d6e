// y = exp(x - max) / sum(exp(x - max)) along the last axis.
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// x [.., C] -> y [.., C]; every row of y sums to 1. A row of minus infinities gives NaN, as in PyTorch.
Tensor softmax(const Tensor& x);

/// y = x - max - log(sum(exp(x - max))) along the last axis. x [.., C] -> y [.., C].
Tensor log_softmax(const Tensor& x);

}  // namespace weft
