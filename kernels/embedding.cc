// Forward: y[i] = weight[ids[i]].  Backward: dweight[v] = sum of dy[i] over ids[i] == v.  Saved: the ids.
#include "kernels/embedding.h"

#include "kernels/device/scatter.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

Tensor embedding(const Tensor& weight, const Tensor& ids) {
  check(weight.rank() == 2, "[embedding] weight must have 2 axes but has shape {}", weight.shape());
  check_ids("embedding", ids, weight.dim(0));
  Shape shape = ids.shape();
  shape.push_back(weight.dim(1));
  Tensor y = Tensor::empty(shape, weight.dtype(), weight.device());
  on_device("embedding", weight, [&]<class T> {
    copy_rows(weight.raw(), y.raw(), ids.data<int64_t>(), ids.numel(), weight.dim(1) * sizeof(T));
  });
  return record("embedding", y, {weight}, [ids = ids.detach(), table = weight.shape()](const Tensor& dy) -> Tensors {
    Tensor dw = Tensor::empty(table, dy.dtype(), dy.device());
    on_device("embedding", dy, [&]<class T> {
      scatter_add_rows(dw.data<T>(), table[0], table[1], ids.data<int64_t>(), ids.numel(), dy.data<T>());
    });
    return {dw};
  });
}

}  // namespace weft
