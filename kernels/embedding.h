// y[.., :] = weight[ids[..], :]
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// weight [V, D], ids [..] i64 in [0, V) -> [.., D] in weight's dtype. An id out of range is an error that names it.
/// The gradient of weight is dense, [V, D]; its sums are taken in the order of the ids, so it is the same for any
/// thread count.
Tensor embedding(const Tensor& weight, const Tensor& ids);

}  // namespace weft
