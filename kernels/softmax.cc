// Forward:  softmax      y = e / sum(e), e = exp(x - max x)         log_softmax  y = x - max x - log(sum(e))
// Backward: softmax      dx = y (dy - sum(y dy))                    log_softmax  dx = dy - exp(y) sum(dy)
// Saved: y.
#include "kernels/softmax.h"

#include <limits>

#include "kernels/device/parallel.h"
#include "kernels/device/vector_math.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

namespace {

// One read and one write of memory: a row stays in the nearest cache between its passes.
template <class T, bool log> void softmax_forward(const T* x, T* y, int64_t rows, int64_t cols) {
  using A = accumulator_t<T>;
  parallel_for(rows, std::max<int64_t>(1, elements_grain / std::max<int64_t>(cols, 1)), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* xr = x + r * cols;
      T* yr = y + r * cols;
      A top = -std::numeric_limits<A>::infinity();
#pragma omp simd reduction(max : top)
      for (int64_t c = 0; c < cols; ++c) top = std::max(top, static_cast<A>(xr[c]));
      A sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < cols; ++c) sum += fast_exp(static_cast<A>(xr[c]) - top);
      if constexpr (log) {
        const A shift = top + std::log(sum);
#pragma omp simd
        for (int64_t c = 0; c < cols; ++c) yr[c] = T(static_cast<A>(xr[c]) - shift);
      } else {
        const A scale = 1 / sum;
#pragma omp simd
        for (int64_t c = 0; c < cols; ++c) yr[c] = T(fast_exp(static_cast<A>(xr[c]) - top) * scale);
      }
    }
  });
}

template <class T, bool log> void softmax_backward(const T* y, const T* dy, T* dx, int64_t rows, int64_t cols) {
  using A = accumulator_t<T>;
  parallel_for(rows, std::max<int64_t>(1, elements_grain / std::max<int64_t>(cols, 1)), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T *yr = y + r * cols, *gr = dy + r * cols;
      T* dxr = dx + r * cols;
      A sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < cols; ++c) sum += static_cast<A>(gr[c]) * (log ? A{1} : static_cast<A>(yr[c]));
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) {
        const A yc = yr[c], gc = gr[c];
        dxr[c] = T(log ? gc - fast_exp(yc) * sum : yc * (gc - sum));
      }
    }
  });
}

template <bool log> Tensor softmax_op(const char* name, const Tensor& x) {
  check(x.rank() >= 1, "[{}] x must have at least 1 axis but has shape {}", name, x.shape());
  Tensor y = empty_like(x);
  on_device(name, x, [&]<class T> { softmax_forward<T, log>(x.data<T>(), y.data<T>(), x.rows(), x.cols()); });
  return record(name, y, {x}, [name, y](const Tensor& dy) -> Tensors {
    Tensor dx = empty_like(y);
    on_device(name, y, [&]<class T> { softmax_backward<T, log>(y.data<T>(), dy.data<T>(), dx.data<T>(), y.rows(), y.cols()); });
    return {dx};
  });
}

}  // namespace

Tensor softmax(const Tensor& x) { return softmax_op<false>("softmax", x); }
Tensor log_softmax(const Tensor& x) { return softmax_op<true>("log_softmax", x); }

}  // namespace weft
