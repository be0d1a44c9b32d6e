// Forward: y = x s, s = sigmoid(a x), a = 1.702.  Backward: dx = dy (s + a x s (1 - s)).  Saved: x.
#include "kernels/quick_gelu.h"

#include "kernels/device/elementwise.h"
#include "kernels/device/vector_math.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

// kernels/quick_gelu.cu
void quick_gelu_forward_cuda(const Tensor& x, const Tensor& y);
void quick_gelu_backward_cuda(const Tensor& x, const Tensor& dy, const Tensor& dx);

namespace {

template <class A> A gate(A x) { return fast_sigmoid(A(1.702) * x); }

}  // namespace

Tensor quick_gelu(const Tensor& x) {
  check(x.defined(), "[quick_gelu] x is undefined");
  Tensor y = empty_like(x);
  on_device("quick_gelu", x, [&]<class T> {
    using A = accumulator_t<T>;
    elementwise(y.data<T>(), y.numel(), [x = x.data<T>()](int64_t i) {
      const A v = static_cast<A>(x[i]);
      return T(v * gate(v));
    });
  }, [&] { quick_gelu_forward_cuda(x, y); });
  return record("quick_gelu", y, {x}, [x = x.detach()](const Tensor& dy) -> Tensors {
    Tensor dx = empty_like(x);
    on_device("quick_gelu", x, [&]<class T> {
      using A = accumulator_t<T>;
      elementwise(dx.data<T>(), dx.numel(), [x = x.data<T>(), dy = dy.data<T>()](int64_t i) {
        const A v = static_cast<A>(x[i]), s = gate(v);
        return T(static_cast<A>(dy[i]) * (s + A(1.702) * v * s * (1 - s)));
      });
    }, [&] { quick_gelu_backward_cuda(x, dy, dx); });
    return {dx};
  });
}

}  // namespace weft
