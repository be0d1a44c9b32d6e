// Forward:  y = xhat weight + bias, xhat = (x - mean) rstd: x is read once, a row stays in the nearest cache.
// Backward: with h = dy weight, dx = rstd (h - mean(h) - xhat mean(h xhat)); dweight = sum over rows of dy xhat; dbias = that of dy.
//           One pass over x and dy.
// Saved: x, weight, and of every row rstd and the distance of its mean from its first element, which keeps its digits under a large mean.
#include "kernels/layer_norm.h"

#include <cmath>

#include "kernels/device/row_sums.h"
#include "kernels/device/stream.h"
#include "tensor/autograd.h"

namespace weft {

namespace {

template <class T, class A = accumulator_t<T>>
void layer_norm_forward(const T* x, const A* weight, const A* bias, T* y, A* mean, A* rstd, int64_t rows, int64_t cols, double eps) {
  const bool stream = streams<T>(rows * cols);
  parallel_for(rows, std::max<int64_t>(1, elements_grain / std::max<int64_t>(cols, 1)), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end && cols > 0; ++r) {
      const T* xr = x + r * cols;
      const A origin = xr[0], count = static_cast<A>(cols);
      const A centre = row_sum<A>(cols, [=](int64_t c) { return static_cast<A>(xr[c]) - origin; }) / count;
      const A squares = row_sum<A>(cols, [=](int64_t c) {
        const A d = (static_cast<A>(xr[c]) - origin) - centre;
        return d * d;
      });
      const A scale = 1 / std::sqrt(squares / count + static_cast<A>(eps));
      mean[r] = centre;
      rstd[r] = scale;
      write_elements(y + r * cols, cols, stream,
                     [=](int64_t c) { return ((static_cast<A>(xr[c]) - origin) - centre) * scale * weight[c] + bias[c]; });
    }
    if (stream) stream_fence();
  });
}

// dx, dweight and dbias may be null.
template <class T, class A = accumulator_t<T>>
void layer_norm_backward(const T* x, const A* weight, const A* mean, const A* rstd, const T* dy, T* dx, A* dweight, A* dbias,
                         int64_t rows, int64_t cols) {
  const bool stream = streams<T>(rows * cols), parameters = dweight || dbias;
  const std::vector<double> sums = sum_over_rows<A>(rows, parameters ? 2 * cols : 0, cols, [=](int64_t r, A* dw) {
    if (cols == 0) return;
    const T *xr = x + r * cols, *gr = dy + r * cols;
    const A origin = xr[0], centre = mean[r], scale = rstd[r];
    if (parameters) {
      A* db = dw + cols;
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) {
        const A g = gr[c];
        dw[c] += g * (((static_cast<A>(xr[c]) - origin) - centre) * scale);
        db[c] += g;
      }
    }
    if (!dx) return;
    A sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
    for (int64_t c = 0; c < cols; ++c) {
      const A h = static_cast<A>(gr[c]) * weight[c];
      sum += h;
      dot += h * ((static_cast<A>(xr[c]) - origin) - centre);
    }
    const A offset = sum / static_cast<A>(cols), slope = dot * scale * scale / static_cast<A>(cols);
    write_elements(dx + r * cols, cols, stream, [=](int64_t c) {
      return scale * (static_cast<A>(gr[c]) * weight[c] - offset - ((static_cast<A>(xr[c]) - origin) - centre) * slope);
    });
  }, stream_fence);
  if (dweight) std::copy(sums.begin(), sums.begin() + cols, dweight);
  if (dbias) std::copy(sums.begin() + cols, sums.end(), dbias);
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  check(x.rank() >= 1, "[layer_norm] x must have at least 1 axis but has shape {}", x.shape());
  const DType parameter = parameter_dtype(x.dtype());
  const auto check_parameter = [&](const char* name, const Tensor& t) {
    check(t.defined() && t.shape() == Shape{x.cols()} && t.dtype() == parameter, "[layer_norm] {} must be {} [{}] but is {} {}", name, parameter,
          x.cols(), t.dtype(), t.shape());
  };
  check_parameter("weight", weight);
  check_parameter("bias", bias);
  Tensor y = empty_like(x), mean = Tensor::empty({x.rows()}, parameter, x.device()), rstd = empty_like(mean);
  on_device("layer_norm", x, [&]<class T> {
    using A = accumulator_t<T>;
    layer_norm_forward<T>(x.data<T>(), weight.data<A>(), bias.data<A>(), y.data<T>(), mean.data<A>(), rstd.data<A>(), x.rows(), x.cols(), eps);
  });
  const bool wants_x = x.needs_grad(), wants_weight = weight.needs_grad(), wants_bias = bias.needs_grad();
  return record("layer_norm", y, {x, weight, bias}, [=, x = x.detach(), weight = weight.detach()](const Tensor& dy) -> Tensors {
    const Tensor dx = wants_x ? empty_like(x) : Tensor();
    const Tensor dweight = wants_weight ? empty_like(weight) : Tensor(), dbias = wants_bias ? empty_like(weight) : Tensor();
    on_device("layer_norm", x, [&]<class T> {
      using A = accumulator_t<T>;
      layer_norm_backward<T>(x.data<T>(), weight.data<A>(), mean.data<A>(), rstd.data<A>(), dy.data<T>(), wants_x ? dx.data<T>() : nullptr,
                             wants_weight ? dweight.data<A>() : nullptr, wants_bias ? dbias.data<A>() : nullptr, x.rows(), x.cols());
    });
    return {dx, dweight, dbias};
  });
}

}  // namespace weft
