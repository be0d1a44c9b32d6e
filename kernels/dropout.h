// y = x / (1 - p) where a draw keeps the element, else 0.
#pragma once

#include "tensor/philox.h"
#include "tensor/tensor.h"

namespace weft {

/// Each element is dropped with probability p, 0 <= p < 1. x itself unless Training::active() and p > 0.
/// Takes x.numel() numbers of `random`; element i is kept if number i is at least p.
Tensor dropout(const Tensor& x, double p, Random& random);

}  // namespace weft
