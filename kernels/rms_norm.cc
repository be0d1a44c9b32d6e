// Forward:  y = x rstd weight, rstd = 1 / sqrt(mean(x^2) + eps): x is read once, a row stays in the nearest cache.
// Backward: with h = dy weight, dx = rstd (h - x rstd^2 mean(h x)); dweight = sum over rows of dy x rstd. One pass over x and dy.
// Saved: x, weight, and rstd of every row.
#include "kernels/rms_norm.h"

#include <cmath>

#include "kernels/device/row_sums.h"
#include "kernels/device/stream.h"
#include "tensor/autograd.h"

namespace weft {

namespace {

template <class T, class A = accumulator_t<T>>
void rms_norm_forward(const T* x, const A* weight, T* y, A* rstd, int64_t rows, int64_t cols, double eps) {
  const bool stream = streams<T>(rows * cols);
  parallel_for(rows, std::max<int64_t>(1, elements_grain / std::max<int64_t>(cols, 1)), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* xr = x + r * cols;
      const A squares = row_sum<A>(cols, [=](int64_t c) { return static_cast<A>(xr[c]) * static_cast<A>(xr[c]); });
      const A scale = 1 / std::sqrt(squares / static_cast<A>(cols) + static_cast<A>(eps));
      rstd[r] = scale;
      write_elements(y + r * cols, cols, stream, [=](int64_t c) { return static_cast<A>(xr[c]) * scale * weight[c]; });
    }
    if (stream) stream_fence();
  });
}

// dx and dweight may be null.
template <class T, class A = accumulator_t<T>>
void rms_norm_backward(const T* x, const A* weight, const A* rstd, const T* dy, T* dx, A* dweight, int64_t rows, int64_t cols) {
  const bool stream = streams<T>(rows * cols);
  const std::vector<double> sums = sum_over_rows<A>(rows, dweight ? cols : 0, cols, [=](int64_t r, A* dw) {
    const T *xr = x + r * cols, *gr = dy + r * cols;
    const A scale = rstd[r];
    if (dweight) {
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) dw[c] += static_cast<A>(gr[c]) * (static_cast<A>(xr[c]) * scale);
    }
    if (!dx) return;
    const A dot = row_sum<A>(cols, [=](int64_t c) { return static_cast<A>(gr[c]) * weight[c] * static_cast<A>(xr[c]); });
    const A slope = dot * scale * scale * scale / static_cast<A>(cols);
    write_elements(dx + r * cols, cols, stream, [=](int64_t c) {
      return static_cast<A>(gr[c]) * weight[c] * scale - static_cast<A>(xr[c]) * slope;
    });
  }, stream_fence);
  if (dweight) std::copy(sums.begin(), sums.end(), dweight);
}

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  check(x.rank() >= 1, "[rms_norm] x must have at least 1 axis but has shape {}", x.shape());
  const DType parameter = parameter_dtype(x.dtype());
  check(weight.defined() && weight.shape() == Shape{x.cols()} && weight.dtype() == parameter, "[rms_norm] weight must be {} [{}] but is {} {}",
        parameter, x.cols(), weight.dtype(), weight.shape());
  Tensor y = empty_like(x), rstd = Tensor::empty({x.rows()}, parameter, x.device());
  on_device("rms_norm", x, [&]<class T> {
    using A = accumulator_t<T>;
    rms_norm_forward<T>(x.data<T>(), weight.data<A>(), y.data<T>(), rstd.data<A>(), x.rows(), x.cols(), eps);
  });
  const bool wants_x = x.needs_grad(), wants_weight = weight.needs_grad();
  return record("rms_norm", y, {x, weight}, [=, x = x.detach(), weight = weight.detach()](const Tensor& dy) -> Tensors {
    const Tensor dx = wants_x ? empty_like(x) : Tensor(), dweight = wants_weight ? empty_like(weight) : Tensor();
    on_device("rms_norm", x, [&]<class T> {
      using A = accumulator_t<T>;
      rms_norm_backward<T>(x.data<T>(), weight.data<A>(), rstd.data<A>(), dy.data<T>(), wants_x ? dx.data<T>() : nullptr,
                           wants_weight ? dweight.data<A>() : nullptr, x.rows(), x.cols());
    });
    return {dx, dweight};
  });
}

}  // namespace weft
