// Sums, means, maxima and rankings.
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// All elements -> [].
Tensor sum(const Tensor& x);
Tensor mean(const Tensor& x);

/// Along one axis, which is dropped, or kept with extent 1 if `keep`. Negative axes count from the end.
Tensor sum(const Tensor& x, int axis, bool keep = false);
Tensor mean(const Tensor& x, int axis, bool keep = false);
/// A NaN is greater than every number; the gradient goes to the first of equal maxima. The axis must not be empty.
Tensor max(const Tensor& x, int axis, bool keep = false);

/// The index of max(x, axis), i64, axis dropped.
Tensor argmax(const Tensor& x, int axis = -1);

struct TopK {
  Tensor values;   // [.., k], differentiable
  Tensor indices;  // [.., k] i64
};
/// The k largest along the last axis, largest first, ties to the lower index, a NaN before every number. x [.., C], 1
/// <= k <= C.
TopK topk(const Tensor& x, int64_t k);

}  // namespace weft
