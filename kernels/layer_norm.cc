// Forward:  y = xhat weight + bias, xhat = (x - mean) rstd: two passes over a row (three if it is short), the first of memory.
// Backward: with h = dy weight, dx = rstd (h - mean(h) - xhat mean(h xhat)); dweight = sum over rows of dy xhat; dbias = that of dy.
//           One pass over x and dy.
// Saved: x, weight, and of every row rstd and the distance of its mean from its first element, which keeps its digits under a large mean.
#include "kernels/layer_norm.h"

#include <cmath>

#include "kernels/device/row_sums.h"
#include "kernels/device/rows.h"
#include "tensor/autograd.h"

namespace weft {

// kernels/layer_norm.cu
void layer_norm_forward_cuda(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y, const Tensor& mean, const Tensor& rstd, double eps);
void layer_norm_backward_cuda(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd, const Tensor& dy, const Tensor& dx,
                              const Tensor& dweight, const Tensor& dbias);

namespace {

// Below this, combining the lanes costs more than another pass.
constexpr int64_t short_row = 128;

// Of a row: its mean's distance from its first element, and the sum of the squared deviations from the mean. One pass: each
// of the lanes of a vector is summed relative to its own first element, so that its sum of squares is at most as many times that of
// the deviations as it has elements; lanes are combined as in Chan, Golub and LeVeque (1979). `counts` is how many elements
// a lane has, at least 1, `shares` 1 / counts.
template <class T, class A = accumulator_t<T>>
void row_moments(const T* x, int64_t cols, const RowLanes<A>& counts, const RowLanes<A>& shares, A& mean, A& squares) {
  const A first = x[0];
  const RowLanes<A> origin = load_lanes(x, WholeLanes());
  RowLanes<A> sum{}, square{};
  each_lanes(cols, [&sum, &square, &origin, x](int64_t c, auto n) {
    const RowLanes<A> d = first_lanes<A>(load_lanes(x + c, n) - origin, n);
    sum += d;
    square += d * d;
  });
  const RowLanes<A> shift = sum * shares, centre = origin - first + shift;
  mean = lane_sum<A>(centre * counts) / static_cast<A>(cols);
  const RowLanes<A> apart = centre - mean;
  squares = lane_sum<A>(square - sum * shift + apart * apart * counts);
}

// The same of `count` short rows, in two passes.
template <class T, class A = accumulator_t<T>>
void row_moments_together(const T* x, int64_t count, int64_t cols, A* mean, A* squares) {
  for (int64_t k = 0; k < count; ++k) {
    const T* xr = x + k * cols;
    RowLanes<A> sum{};
    each_lanes(cols, [&sum, xr, origin = static_cast<A>(xr[0])](int64_t c, auto n) {
      sum += load_lanes(xr + c, n, origin) - origin;
    });
    mean[k] = lane_sum<A>(sum) / static_cast<A>(cols);
  }
  for (int64_t k = 0; k < count; ++k) {
    const T* xr = x + k * cols;
    RowLanes<A> sum{};
    each_lanes(cols, [&sum, xr, origin = static_cast<A>(xr[0]), centre = mean[k]](int64_t c, auto n) {
      const RowLanes<A> d = first_lanes<A>(load_lanes(xr + c, n) - origin - centre, n);
      sum += d * d;
    });
    squares[k] = lane_sum<A>(sum);
  }
}

template <class T, class A = accumulator_t<T>>
void layer_norm_forward(const T* x, const A* weight, const A* bias, T* y, A* mean, A* rstd, int64_t rows, int64_t cols, double eps) {
  const int64_t group = rows_together(padded(cols));
  const std::vector<A> padded_weight = padded_copy(weight, cols), padded_bias = padded_copy(bias, cols);
  RowLanes<A> lane_counts{}, lane_shares{};
  for (int64_t l = 0; l < std::min(cols, row_lanes); ++l) {
    lane_counts[l] = static_cast<A>((cols - l + row_lanes - 1) / row_lanes);
    lane_shares[l] = 1 / lane_counts[l];
  }
  parallel_for(cols > 0 ? rows : 0, std::max<int64_t>(1, elements_grain / std::max<int64_t>(cols, 1)),
               [=, w = padded_weight.data(), b = padded_bias.data()](int64_t begin, int64_t end) {
    RowWriter<T> out(y + begin * cols, streams<T>(rows * cols));
    for (int64_t r = begin; r < end; r += group) {
      const int64_t count = std::min(group, end - r);
      A squares[max_rows_together];
      if (cols < short_row) {
        row_moments_together(x + r * cols, count, cols, mean + r, squares);
      } else {
        for (int64_t k = 0; k < count; ++k) {
          row_moments(x + (r + k) * cols, cols, lane_counts, lane_shares, mean[r + k], squares[k]);
        }
      }
#pragma omp simd
      for (int64_t k = 0; k < count; ++k) rstd[r + k] = 1 / std::sqrt(squares[k] / static_cast<A>(cols) + static_cast<A>(eps));
      for (int64_t k = 0; k < count; ++k) {
        const T* xr = x + (r + k) * cols;
        out.write_lanes(cols, [=, origin = static_cast<A>(xr[0]), centre = mean[r + k], scale = rstd[r + k]](int64_t c, auto n) {
          prefetch(xr + c + group * cols);
          return (load_lanes(xr + c, n) - origin - centre) * scale * row_vector(w + c) + row_vector(b + c);
        });
      }
    }
  });
}

// dx, dweight and dbias may be null.
template <class T, class A = accumulator_t<T>>
void layer_norm_backward(const T* x, const A* weight, const A* mean, const A* rstd, const T* dy, T* dx, A* dweight, A* dbias,
                         int64_t rows, int64_t cols) {
  const int64_t width = padded(cols), group = rows_together(width);
  const std::vector<A> padded_weight = padded_copy(weight, cols);
  const std::vector<double> sums = sum_over_rows<A>(cols > 0 ? rows : 0, 2 * width, cols, [&](int64_t first) {
    return [=, w = padded_weight.data(), out = RowWriter<T>(dx ? dx + first * cols : nullptr, streams<T>(rows * cols))](
               int64_t begin, int64_t end, A* dw) mutable {
      A* db = dw + width;
      for (int64_t r = begin; r < end; r += group) {
        const int64_t count = std::min(group, end - r);
        A offset[max_rows_together], slope[max_rows_together];
        for (int64_t k = 0; k < count; ++k) {
          const T *xr = x + (r + k) * cols, *gr = dy + (r + k) * cols;
          const A origin = xr[0], centre = mean[r + k], scale = rstd[r + k];
          RowLanes<A> sum{}, dot{};
          // Beyond the row's end dy is 0, and with it every term.
          each_lanes(cols, [=, &sum, &dot](int64_t c, auto n) {
            const RowLanes<A> d = load_lanes(xr + c, n) - origin - centre, g = load_lanes(gr + c, n), h = g * row_vector(w + c);
            row_vector(dw + c) += g * (d * scale);
            row_vector(db + c) += g;
            sum += h;
            dot += h * d;
          });
          offset[k] = lane_sum<A>(sum) / static_cast<A>(cols);
          slope[k] = lane_sum<A>(dot) * scale * scale / static_cast<A>(cols);
        }
        for (int64_t k = 0; dx && k < count; ++k) {
          const T *xr = x + (r + k) * cols, *gr = dy + (r + k) * cols;
          out.write_lanes(cols, [=, origin = static_cast<A>(xr[0]), centre = mean[r + k], scale = rstd[r + k], o = offset[k],
                                 s = slope[k]](int64_t c, auto n) {
            prefetch(xr + c + group * cols);
            prefetch(gr + c + group * cols);
            return scale * (load_lanes(gr + c, n) * row_vector(w + c) - o - (load_lanes(xr + c, n) - origin - centre) * s);
          });
        }
      }
    };
  });
  if (dweight) std::copy(sums.begin(), sums.begin() + cols, dweight);
  if (dbias) std::copy(sums.begin() + width, sums.begin() + width + cols, dbias);
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
  }, [&] { layer_norm_forward_cuda(x, weight, bias, y, mean, rstd, eps); });
  const bool wants_x = x.needs_grad(), wants_weight = weight.needs_grad(), wants_bias = bias.needs_grad();
  return record("layer_norm", y, {x, weight, bias}, [=, x = x.detach(), weight = weight.detach()](const Tensor& dy) -> Tensors {
    const Tensor dx = wants_x ? empty_like(x) : Tensor();
    const Tensor dweight = wants_weight ? empty_like(weight) : Tensor(), dbias = wants_bias ? empty_like(weight) : Tensor();
    on_device("layer_norm", x, [&]<class T> {
      using A = accumulator_t<T>;
      layer_norm_backward<T>(x.data<T>(), weight.data<A>(), mean.data<A>(), rstd.data<A>(), dy.data<T>(), wants_x ? dx.data<T>() : nullptr,
                             wants_weight ? dweight.data<A>() : nullptr, wants_bias ? dbias.data<A>() : nullptr, x.rows(), x.cols());
    }, [&] { layer_norm_backward_cuda(x, weight, mean, rstd, dy, dx, dweight, dbias); });
    return {dx, dweight, dbias};
  });
}

}  // namespace weft
