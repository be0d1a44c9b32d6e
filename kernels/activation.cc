// Forward: y = f(x).  Backward: dx = dy f'(x).
// Saved: y where f' follows from it (relu, sigmoid, tanh, exp), else x. The formulas are in
// kernels/device/activation_math.h.
#include "kernels/activation.h"

#include "kernels/device/activation_math.h"
#include "kernels/device/elementwise.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

// kernels/activation.cu, which has these for every Math used here
template <class Math> void activation_forward_cuda(const Tensor& x, const Tensor& y);
template <class Math> void activation_backward_cuda(const Tensor& saved, const Tensor& dy, const Tensor& dx);
void gated_forward_cuda(const Tensor& a, const Tensor& b, const Tensor& y);
void gated_backward_cuda(const Tensor& a, const Tensor& b, const Tensor& dy, const Tensor& da, const Tensor& db);

namespace {

template <class Math> Tensor activation_op(const char* name, const Tensor& x) {
  check(x.defined(), "[{}] x is undefined", name);
  Tensor y = empty_like(x);
  on_device(name, x, [&]<class T> {
    elementwise(y.data<T>(), y.numel(),
                [x = x.data<T>()](int64_t i) { return Math::value(static_cast<accumulator_t<T>>(x[i])); });
  }, [&] { activation_forward_cuda<Math>(x, y); });
  const Tensor saved = Math::from_result ? y : x.detach();
  return record(name, y, {x}, [name, saved](const Tensor& dy) -> Tensors {
    Tensor dx = empty_like(saved);
    on_device(name, saved, [&]<class T> {
      using A = accumulator_t<T>;
      elementwise(dx.data<T>(), dx.numel(), [saved = saved.data<T>(), dy = dy.data<T>()](int64_t i) {
        return Math::slope(static_cast<A>(saved[i])) * static_cast<A>(dy[i]);
      });
    }, [&] { activation_backward_cuda<Math>(saved, dy, dx); });
    return {dx};
  });
}

// Both gradients in one pass over a, b and dy.
template <class T> void gated_backward(const T* a, const T* b, const T* dy, T* da, T* db, int64_t n) {
  using A = accumulator_t<T>;
  parallel_for(n, elements_grain, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const A x = static_cast<A>(a[i]), g = static_cast<A>(dy[i]), x2 = x * x;
      const A s = fast_sigmoid(x * (A(GeluTanhMath::a) + A(GeluTanhMath::b) * x2));
      const A slope = s + x * s * (1 - s) * (A(GeluTanhMath::a) + 3 * A(GeluTanhMath::b) * x2);
      da[i] = T(g * static_cast<A>(b[i]) * slope);
      db[i] = T(g * x * s);
    }
  });
}

}  // namespace

Tensor relu(const Tensor& x) { return activation_op<ReluMath>("relu", x); }
Tensor gelu(const Tensor& x) { return activation_op<GeluMath>("gelu", x); }
Tensor gelu_tanh(const Tensor& x) { return activation_op<GeluTanhMath>("gelu_tanh", x); }
Tensor silu(const Tensor& x) { return activation_op<SiluMath>("silu", x); }
Tensor sigmoid(const Tensor& x) { return activation_op<SigmoidMath>("sigmoid", x); }
Tensor tanh(const Tensor& x) { return activation_op<TanhMath>("tanh", x); }
Tensor exp(const Tensor& x) { return activation_op<ExpMath>("exp", x); }
Tensor log(const Tensor& x) { return activation_op<LogMath>("log", x); }
Tensor sin(const Tensor& x) { return activation_op<SinMath>("sin", x); }
Tensor cos(const Tensor& x) { return activation_op<CosMath>("cos", x); }

Tensor activate(const Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::none:
      break;
    case Activation::relu:
      return relu(x);
    case Activation::gelu:
      return gelu(x);
    case Activation::gelu_tanh:
      return gelu_tanh(x);
    case Activation::silu:
      return silu(x);
  }
  return x;
}

Tensor gated_gelu_tanh(const Tensor& a, const Tensor& b) {
  check_same("gated_gelu_tanh", a, b);
  check(a.shape() == b.shape(), "[gated_gelu_tanh] the shapes must be equal but are {} and {}", a.shape(), b.shape());
  Tensor y = empty_like(a);
  on_device("gated_gelu_tanh", a, [&]<class T> {
    using A = accumulator_t<T>;
    elementwise(y.data<T>(), y.numel(), [a = a.data<T>(), b = b.data<T>()](int64_t i) {
      return GeluTanhMath::value(static_cast<A>(a[i])) * static_cast<A>(b[i]);
    });
  }, [&] { gated_forward_cuda(a, b, y); });
  return record("gated_gelu_tanh", y, {a, b}, [a = a.detach(), b = b.detach()](const Tensor& dy) -> Tensors {
    Tensor da = empty_like(a), db = empty_like(b);
    on_device("gated_gelu_tanh", a, [&]<class T> {
      gated_backward(a.data<T>(), b.data<T>(), dy.data<T>(), da.data<T>(), db.data<T>(), a.numel());
    }, [&] { gated_backward_cuda(a, b, dy, da, db); });
    return {da, db};
  });
}

}  // namespace weft
