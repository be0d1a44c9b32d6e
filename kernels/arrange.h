// Elements put in another place: joined, cut out, permuted, picked by index. Any dtype; differentiable where it is
// floating.
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// Tensors of one dtype and of equal shape but for `axis`, one after another along it.
Tensor concat(const Tensors& tensors, int axis);
/// Elements [begin, end) of one axis, copied. Along the leading axis Tensor::leading() gives a view.
Tensor slice(const Tensor& x, int axis, int64_t begin, int64_t end);
/// Axis i of the result is axis axes[i] of x.
Tensor permute(const Tensor& x, const std::vector<int>& axes);
/// Axes a and b of x exchanged.
Tensor transpose(const Tensor& x, int a, int b);
/// y[i, j, k] = x[i, index[i, j, k], k] for axis 1, and so on. index i64, of x's shape but for `axis`; y has the shape
/// of index.
Tensor gather(const Tensor& x, int axis, const Tensor& index);
/// Rows ids[0], ids[1], .. of the leading axis. x [V, ..], ids [n] i64 in [0, V) -> [n, ..].
Tensor index_select(const Tensor& x, const Tensor& ids);
/// ids [..] i64 in [0, classes) -> [.., classes] with a 1 at every id and 0 elsewhere.
Tensor one_hot(const Tensor& ids, int64_t classes, DType dtype = DType::f32);

}  // namespace weft
