// Forward:  y[i, j] = sum over a, b of v[i, a] w[j, b] x[a, b], v and w the weights of the two axes
// Backward: dx[a, b] = sum over i, j of v[i, a] w[j, b] dy[i, j], the same with both transposed. Saved: nothing of x.
#include "kernels/resize.h"

#include <cmath>
#include <vector>

#include "kernels/device/parallel.h"
#include "kernels/device/rows.h"
#include "kernels/device/taps.h"
#include "tensor/autograd.h"

namespace weft {

// kernels/resize.cu
void resize_cuda(const Tensor& x, const Tensor& y, const Taps& down, const Taps& across);

namespace {

Taps bilinear_taps(int64_t in, int64_t out, bool antialias) {
  Taps taps;
  const double step = static_cast<double>(in) / static_cast<double>(out);
  for (int64_t i = 0; i < out; ++i) {
    const double centre = step * (static_cast<double>(i) + 0.5);
    if (antialias) {
      const double reach = std::max(step, 1.0);
      const int64_t begin = std::max<int64_t>(static_cast<int64_t>(centre - reach + 0.5), 0);
      const int64_t end = std::min<int64_t>(static_cast<int64_t>(centre + reach + 0.5), in);
      std::vector<double> weights;
      double sum = 0;
      for (int64_t a = begin; a < end; ++a) {
        weights.push_back(std::max(0.0, 1 - std::fabs((static_cast<double>(a) + 0.5 - centre) / reach)));
        sum += weights.back();
      }
      for (double& w : weights) w /= sum;
      taps.add(begin, weights);
    } else {
      const double at = std::max(centre - 0.5, 0.0);
      const int64_t a = std::min<int64_t>(static_cast<int64_t>(at), in - 1);
      const double second = at - static_cast<double>(a);
      taps.add(a, a + 1 < in ? std::vector<double>{1 - second, second} : std::vector<double>{1});
    }
  }
  return taps;
}

// Keys 1981, "Cubic convolution interpolation for digital image processing", with a = -1/2.
double keys_cubic(double x) {
  x = std::fabs(x);
  if (x <= 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

Taps cubic_taps(int64_t in, int64_t out, bool zeros_outside) {
  Taps taps;
  const double step = static_cast<double>(in) / static_cast<double>(out), stretch = std::max(step, 1.0);
  for (int64_t i = 0; i < out; ++i) {
    const double centre = step * (static_cast<double>(i) + 0.5) - 0.5;
    const auto begin = static_cast<int64_t>(std::ceil(centre - 2 * stretch));
    const auto end = static_cast<int64_t>(std::floor(centre + 2 * stretch)) + 1;
    std::vector<double> inside;
    double sum = 0;
    for (int64_t a = begin; a < end; ++a) {
      const double weight = keys_cubic((static_cast<double>(a) - centre) / stretch);
      const bool is_inside = a >= 0 && a < in;
      if (is_inside) inside.push_back(weight);
      if (is_inside || zeros_outside) sum += weight;
    }
    for (double& w : inside) w /= sum;
    taps.add(std::max<int64_t>(begin, 0), inside);
  }
  return taps;
}

Taps nearest_taps(int64_t in, int64_t out) {
  Taps taps;
  // Whole numbers: floor((i + 1/2) in / out).
  for (int64_t i = 0; i < out; ++i) taps.add(std::min((2 * i + 1) * in / (2 * out), in - 1), {1});
  return taps;
}

// Outputs that use an input are neighbours, since the taps of output i + 1 begin and end no earlier than those of
// output i.
Taps transposed(const Taps& taps, int64_t in) {
  std::vector<int64_t> first(in, 0);
  std::vector<std::vector<double>> weights(in);
  for (int64_t i = 0; i < taps.size(); ++i) {
    for (int64_t t = 0; t < taps.count[i]; ++t) {
      const int64_t a = taps.first[i] + t;
      if (weights[a].empty()) first[a] = i;
      weights[a].resize(i - first[a] + 1);
      weights[a].back() = taps.weight[taps.offset[i] + t];
    }
  }
  Taps result;
  for (int64_t a = 0; a < in; ++a) result.add(first[a], weights[a]);
  return result;
}

// row_lanes neighbours in accumulator precision.
template <class T> RowLanes<accumulator_t<T>> widen(const T* from) {
  if constexpr (std::is_same_v<T, bf16>) {
    typedef uint16_t Halves __attribute__((vector_size(2 * row_lanes)));
    typedef uint32_t Words __attribute__((vector_size(4 * row_lanes)));
    Halves halves;
    std::memcpy(&halves, from, sizeof(halves));
    return std::bit_cast<RowLanes<float>>(__builtin_convertvector(halves, Words) << 16);
  } else {
    return row_vector(from);
  }
}

// Rows are blended down first, over whole rows of memory; the blended row, in the nearest cache, is then blended across. Both take
// row_lanes elements at a time whatever C is: lanes past a pixel are junk in the next pixel's place, which that pixel then overwrites.
template <class T>
void apply(const T* x, T* y, int64_t N, int64_t W, int64_t C, const Taps& down, const Taps& across, int64_t H) {
  using A = accumulator_t<T>;
  using Lanes = RowLanes<A>;
  const int64_t rows = down.size(), cols = across.size(), length = W * C;
  const std::vector<A> v(down.weight.begin(), down.weight.end()), w(across.weight.begin(), across.weight.end());
  const int64_t work = std::max<int64_t>(1, length + cols * C);
  parallel_for(N * rows, std::max<int64_t>(1, elements_grain / work), [&](int64_t begin, int64_t end) {
    std::vector<A> blended(length + row_lanes), result(cols * C + row_lanes);
    RowWriter<T> out(y + begin * cols * C, streams<T>(N * rows * cols * C));
    for (int64_t r = begin; r < end; ++r) {
      const int64_t i = r % rows, taps = down.count[i];
      const T* image = x + (r / rows * H + down.first[i]) * length;
      const A* column = v.data() + down.offset[i];
      int64_t e = 0;
      for (; e + row_lanes <= length; e += row_lanes) {
        Lanes sum{};
        for (int64_t t = 0; t < taps; ++t) sum += widen(image + t * length + e) * column[t];
        row_vector(blended.data() + e) = sum;
      }
      for (; e < length; ++e) {
        A sum = 0;
        for (int64_t t = 0; t < taps; ++t) sum += column[t] * static_cast<A>(image[t * length + e]);
        blended[e] = sum;
      }
      for (int64_t j = 0; j < cols; ++j) {
        const A *from = blended.data() + across.first[j] * C, *weights = w.data() + across.offset[j];
        A* to = result.data() + j * C;
        for (int64_t c = 0; c < C; c += row_lanes) {
          Lanes sum{};
          for (int64_t t = 0; t < across.count[j]; ++t) sum += row_vector(from + t * C + c) * weights[t];
          row_vector(to + c) = sum;
        }
      }
      out.write_padded(cols * C, [from = result.data()](int64_t e) { return from[e]; });
    }
  });
}

void check_sizes(const char* name, const Tensor& x, int64_t height, int64_t width) {
  check(x.defined() && x.rank() == 4 && x.dim(1) > 0 && x.dim(2) > 0,
        "[{}] x must be [N, H, W, C] with H and W at least 1 but has shape {}", name, x.shape());
  check(height > 0 && width > 0, "[{}] the size must be at least 1 x 1 but is {} x {}", name, height, width);
}

Tensor resize(const char* name, const Tensor& x, Taps down, Taps across) {
  const int64_t N = x.dim(0), H = x.dim(1), W = x.dim(2), C = x.dim(3);
  Tensor y = Tensor::empty({N, down.size(), across.size(), C}, x.dtype(), x.device());
  on_device(name, x, [&]<class T> { apply(x.data<T>(), y.data<T>(), N, W, C, down, across, H); },
            [&] { resize_cuda(x, y, down, across); });
  return record(name, y, {x}, [=, down = std::move(down), across = std::move(across)](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::empty({N, H, W, C}, dy.dtype(), dy.device());
    const Taps up = transposed(down, H), back = transposed(across, W);
    on_device(name, dy, [&]<class T> { apply(dy.data<T>(), dx.data<T>(), N, across.size(), C, up, back, down.size()); },
              [&] { resize_cuda(dy, dx, up, back); });
    return {dx};
  });
}

}  // namespace

Tensor resize_bilinear(const Tensor& x, int64_t height, int64_t width, bool antialias) {
  check_sizes("resize_bilinear", x, height, width);
  return resize("resize_bilinear", x, bilinear_taps(x.dim(1), height, antialias),
                bilinear_taps(x.dim(2), width, antialias));
}

Tensor resize_cubic(const Tensor& x, int64_t height, int64_t width, bool zeros_outside) {
  check_sizes("resize_cubic", x, height, width);
  return resize("resize_cubic", x, cubic_taps(x.dim(1), height, zeros_outside),
                cubic_taps(x.dim(2), width, zeros_outside));
}

Tensor resize_nearest(const Tensor& x, int64_t height, int64_t width) {
  check_sizes("resize_nearest", x, height, width);
  return resize("resize_nearest", x, nearest_taps(x.dim(1), height), nearest_taps(x.dim(2), width));
}

}  // namespace weft
