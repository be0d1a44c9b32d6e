// Forward: y = x rounded.  Backward: dx = dy rounded.  Saved: nothing.
#include "kernels/cast.h"

#include "kernels/device/elementwise.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

// kernels/cast.cu
void cast_cuda(const Tensor& x, const Tensor& y);

Tensor cast(const Tensor& x, DType dtype) {
  check(x.defined(), "[cast] x is undefined");
  if (x.dtype() == dtype) return x;
  Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  const auto on_cpu = [&] {
    on_any_dtype(dtype, [&]<class To> {
      on_any_dtype(x.dtype(), [&]<class From> {
        elementwise(y.data<To>(), y.numel(), [from = x.data<From>()](int64_t i) { return convert<To>(from[i]); });
      });
    });
  };
  on_place(x, on_cpu, [&] { cast_cuda(x, y); });
  if (!is_floating(dtype)) return no_gradient("cast", y, "its result is not floating");
  return record("cast", y, {x}, [before = x.dtype()](const Tensor& dy) -> Tensors { return {cast(dy, before)}; });
}

}  // namespace weft
