// Forward:  y = x rstd weight, rstd = 1 / sqrt(mean(x^2) + eps): two passes over a row, the second out of the nearest cache.
// Backward: with h = dy weight, dx = rstd (h - x rstd^2 mean(h x)); dweight = sum over rows of dy x rstd. One pass over x and dy.
// Saved: x, weight, and rstd of every row.
#include "kernels/rms_norm.h"

#include <cmath>

#include "kernels/device/row_sums.h"
#include "kernels/device/rows.h"
#include "tensor/autograd.h"

namespace weft {

// kernels/rms_norm.cu
void rms_norm_forward_cuda(const Tensor& x, const Tensor& weight, const Tensor& y, const Tensor& rstd, double eps);
void rms_norm_backward_cuda(const Tensor& x, const Tensor& weight, const Tensor& rstd, const Tensor& dy, const Tensor& dx, const Tensor& dweight);

namespace {

template <class T, class A = accumulator_t<T>>
void rms_norm_forward(const T* x, const A* weight, T* y, A* rstd, int64_t rows, int64_t cols, double eps) {
  const int64_t group = rows_together(padded(cols));
  const std::vector<A> w = padded_copy(weight, cols);
  parallel_for(rows, std::max<int64_t>(1, elements_grain / std::max<int64_t>(cols, 1)), [=, w = w.data()](int64_t begin, int64_t end) {
    RowWriter<T> out(y + begin * cols, streams<T>(rows * cols));
    for (int64_t r = begin; r < end; r += group) {
      const int64_t count = std::min(group, end - r);
      A squares[max_rows_together];
      for (int64_t k = 0; k < count; ++k) {
        RowLanes<A> sum{};
        each_lanes(cols, [&sum, xr = x + (r + k) * cols](int64_t c, auto n) {
          const RowLanes<A> v = load_lanes(xr + c, n);
          sum += v * v;
        });
        squares[k] = lane_sum<A>(sum);
      }
#pragma omp simd
      for (int64_t k = 0; k < count; ++k) rstd[r + k] = 1 / std::sqrt(squares[k] / static_cast<A>(cols) + static_cast<A>(eps));
      for (int64_t k = 0; k < count; ++k) {
        out.write_lanes(cols, [=, xr = x + (r + k) * cols, scale = rstd[r + k]](int64_t c, auto n) {
          prefetch(xr + c + group * cols);
          return load_lanes(xr + c, n) * scale * row_vector(w + c);
        });
      }
    }
  });
}

// dx and dweight may be null.
template <class T, class A = accumulator_t<T>>
void rms_norm_backward(const T* x, const A* weight, const A* rstd, const T* dy, T* dx, A* dweight, int64_t rows, int64_t cols) {
  const int64_t width = padded(cols), group = rows_together(width);
  const std::vector<A> padded_weight = padded_copy(weight, cols);
  const std::vector<double> sums = sum_over_rows<A>(rows, width, cols, [&](int64_t first) {
    return [=, w = padded_weight.data(), out = RowWriter<T>(dx ? dx + first * cols : nullptr, streams<T>(rows * cols))](
               int64_t begin, int64_t end, A* dw) mutable {
      for (int64_t r = begin; r < end; r += group) {
        const int64_t count = std::min(group, end - r);
        A slope[max_rows_together];
        for (int64_t k = 0; k < count; ++k) {
          const A scale = rstd[r + k];
          RowLanes<A> dot{};
          each_lanes(cols, [=, &dot, xr = x + (r + k) * cols, gr = dy + (r + k) * cols](int64_t c, auto n) {
            const RowLanes<A> gx = load_lanes(gr + c, n) * load_lanes(xr + c, n);
            row_vector(dw + c) += gx * scale;
            dot += gx * row_vector(w + c);
          });
          slope[k] = lane_sum<A>(dot) * scale * scale * scale / static_cast<A>(cols);
        }
        for (int64_t k = 0; dx && k < count; ++k) {
          out.write_lanes(cols, [=, xr = x + (r + k) * cols, gr = dy + (r + k) * cols, scale = rstd[r + k], s = slope[k]](int64_t c, auto n) {
            prefetch(xr + c + group * cols);
            prefetch(gr + c + group * cols);
            return load_lanes(gr + c, n) * row_vector(w + c) * scale - load_lanes(xr + c, n) * s;
          });
        }
      }
    };
  });
  if (dweight) std::copy(sums.begin(), sums.begin() + cols, dweight);
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
  }, [&] { rms_norm_forward_cuda(x, weight, y, rstd, eps); });
  const bool wants_x = x.needs_grad(), wants_weight = weight.needs_grad();
  return record("rms_norm", y, {x, weight}, [=, x = x.detach(), weight = weight.detach()](const Tensor& dy) -> Tensors {
    const Tensor dx = wants_x ? empty_like(x) : Tensor(), dweight = wants_weight ? empty_like(weight) : Tensor();
    on_device("rms_norm", x, [&]<class T> {
      using A = accumulator_t<T>;
      rms_norm_backward<T>(x.data<T>(), weight.data<A>(), rstd.data<A>(), dy.data<T>(), wants_x ? dx.data<T>() : nullptr,
                           wants_weight ? dweight.data<A>() : nullptr, x.rows(), x.cols());
    }, [&] { rms_norm_backward_cuda(x, weight, rstd, dy, dx, dweight); });
    return {dx, dweight};
  });
}

}  // namespace weft
