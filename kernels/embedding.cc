// Forward: y[i] = weight[ids[i]].  Backward: dweight[v] = sum of dy[i] over ids[i] == v.  Saved: the ids.
#include "kernels/embedding.h"

#include "kernels/device/scatter.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

Tensor embedding(const Tensor& weight, const Tensor& ids) {
  check(weight.rank() == 2, "[embedding] weight must have 2 axes but has shape {}", weight.shape());
  const Ids rows = checked_ids("embedding", ids, weight.dim(0), weight.device());
  Shape shape = ids.shape();
  shape.push_back(weight.dim(1));
  Tensor y = Tensor::empty(shape, weight.dtype(), weight.device());
  check(is_floating(weight.dtype()), "[embedding] the dtype must be f32, bf16 or f64 but is {}", weight.dtype());
  look_up_rows(weight, y, rows, weight.dim(1) * size_of(weight.dtype()));
  return record("embedding", y, {weight}, [rows, table = weight.shape()](const Tensor& dy) -> Tensors {
    Tensor dw = Tensor::empty(table, dy.dtype(), dy.device());
    scatter_add("embedding", dw, table[0], table[1], rows, dy);
    return {dw};
  });
}

}  // namespace weft
