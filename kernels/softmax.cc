// Forward:  softmax      y = e / sum(e), e = exp(x - max x)         log_softmax  y = x - max x - log(sum(e))
// Backward: softmax      dx = y (dy - sum(y dy))                    log_softmax  dx = dy - exp(y) sum(dy)
// Saved: y. A row is read from memory once, computed in f32 out of the nearest cache, and written once.
#include "kernels/softmax.h"

#include "kernels/device/row_exponentials.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

// kernels/softmax.cu
void softmax_forward_cuda(const Tensor& x, const Tensor& y, bool log);
void softmax_backward_cuda(const Tensor& y, const Tensor& dy, const Tensor& dx, bool log);

namespace {

template <class T, bool log> void softmax_forward(const T* x, T* y, int64_t rows, int64_t cols) {
  using A = accumulator_t<T>;
  parallel_for(rows, std::max<int64_t>(1, elements_grain / std::max<int64_t>(cols, 1)), [=](int64_t begin, int64_t end) {
    RowExponentials<T> row(cols);
    RowWriter<T> out(y + begin * cols, streams<T>(rows * cols));
    for (int64_t r = begin; r < end; ++r) {
      const T* xr = x + r * cols;
      row.read(xr, cols);
      if constexpr (log) {
        const A shift = row.top + std::log(row.sum);
        out.write_lanes(cols, [=](int64_t c, auto n) { return load_lanes(xr + c, n) - shift; });
      } else {
        for (int64_t c = 0; c < cols; c += exponentials_piece) {
          const A scale = row.factor(c) / row.sum;
          out.write_lanes(std::min(cols - c, exponentials_piece), [=, e = row.e + c](int64_t i, auto) { return row_vector(e + i) * scale; });
        }
      }
    }
  });
}

template <class T, bool log> void softmax_backward(const T* y, const T* dy, T* dx, int64_t rows, int64_t cols) {
  using A = accumulator_t<T>;
  parallel_for(rows, std::max<int64_t>(1, elements_grain / std::max<int64_t>(cols, 1)), [=](int64_t begin, int64_t end) {
    RowWriter<T> out(dx + begin * cols, streams<T>(rows * cols));
    for (int64_t r = begin; r < end; ++r) {
      const T *yr = y + r * cols, *gr = dy + r * cols;
      RowLanes<A> lanes{};
      each_lanes(cols, [&](int64_t c, auto n) {
        const RowLanes<A> g = load_lanes(gr + c, n);
        lanes += log ? g : g * load_lanes(yr + c, n);
      });
      out.write_lanes(cols, [=, sum = lane_sum<A>(lanes)](int64_t c, auto n) -> RowLanes<A> {
        const RowLanes<A> g = load_lanes(gr + c, n), v = load_lanes(yr + c, n);
        return log ? g - exp_lanes<T>(v) * sum : v * (g - sum);
      });
    }
  });
}

template <bool log> Tensor softmax_op(const char* name, const Tensor& x) {
  check(x.rank() >= 1, "[{}] x must have at least 1 axis but has shape {}", name, x.shape());
  Tensor y = empty_like(x);
  on_device(name, x, [&]<class T> { softmax_forward<T, log>(x.data<T>(), y.data<T>(), x.rows(), x.cols()); },
            [&] { softmax_forward_cuda(x, y, log); });
  return record(name, y, {x}, [name, y](const Tensor& dy) -> Tensors {
    Tensor dx = empty_like(y);
    on_device(name, y, [&]<class T> { softmax_backward<T, log>(y.data<T>(), dy.data<T>(), dx.data<T>(), y.rows(), y.cols()); },
              [&] { softmax_backward_cuda(y, dy, dx, log); });
    return {dx};
  });
}

}  // namespace

Tensor softmax(const Tensor& x) { return softmax_op<false>("softmax", x); }
Tensor log_softmax(const Tensor& x) { return softmax_op<true>("log_softmax", x); }

}  // namespace weft
