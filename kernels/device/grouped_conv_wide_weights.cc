// The gradient of the weights for groups of 16 or 32 channels. A vector holds 16 inputs of one pixel, 24 of them the
// sums of 8 outputs and the 3 taps of a row. A step takes one pixel of dy (of bf16: two neighbours): 8 broadcasts, each
// multiplied with the 3 pixels of x under the taps, so 24 multiplications for 11 loads. (With AVX2 there are 8 inputs
// in a vector and 4 outputs: 12 multiplications for 7 loads.) Threads take (group, image,
// some rows); the unit's pixels are first copied, borders included and of bf16 in pairs, to buffers in the nearest
// caches.
#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/device/grouped_conv.h"
#include "kernels/device/partial_sums.h"
#include "kernels/device/unit_vector.h"

namespace weft {

namespace {

constexpr int taps = 3, outputs = registers / 4;
constexpr int64_t buffer_bytes = 1 << 17;

// A vector of channels of a pixel and, of bf16, those of the one that it is paired with; either may be null: zeros.
inline Vector units_of(const float* pixel, const float*) { return pixel ? load(pixel) : Vector{}; }
inline Words widened(const bf16* pixel) {
  Halves halves{};
  if (pixel) std::memcpy(&halves, pixel, sizeof(halves));
  return __builtin_convertvector(halves, Words);
}
inline Vector units_of(const bf16* pixel, const bf16* paired) {
  return std::bit_cast<Vector>(widened(pixel) | widened(paired) << 16);
}

// Row `row` of an image [rows, cols, c], a vector of its channels, as [count, lanes] units: unit j is of pixel
// first + j step and, in pairs, the one `apart` further on.
template <class T>
void copy_row(const T* image, int64_t rows, int64_t cols, int64_t c, int64_t row, int64_t first, int64_t step,
              int64_t apart, int64_t count, Unit<T>* to, int64_t to_step) {
  if (row < 0 || row >= rows) {
    for (int64_t j = 0; j < count; ++j) std::memset(to + j * to_step, 0, lanes * sizeof(Unit<T>));
    return;
  }
  const T* from = image + row * cols * c;
  const auto pixel = [&](int64_t x) { return x >= 0 && x < cols ? from + x * c : nullptr; };
  for (int64_t j = 0, x = first; j < count; ++j, x += step)
    *reinterpret_cast<Vector*>(to + j * to_step) = units_of(pixel(x), pixel(x + apart));
}

// Adds the products of `rows` rows of x and dy to sums [outputs, 3, lanes]. x [cols, lanes] from the first tap
// on, rows x_row units apart; dy `steps` pixels (or pairs) of `width` outputs.
template <class U, int advance>
[[gnu::noinline]] void correlate_rows(const U* x, int64_t x_row, const U* dy, int64_t dy_row, int64_t width,
                                      int64_t rows, int64_t steps, float* sums) {
  Vector sum[outputs][taps];
#pragma GCC unroll 8
  for (int o = 0; o < outputs; ++o) {
#pragma GCC unroll 3
    for (int q = 0; q < taps; ++q) sum[o][q] = load(sums + (o * taps + q) * lanes);
  }
  for (int64_t r = 0; r < rows; ++r, x += x_row, dy += dy_row) {
    const U *xr = x, *gr = dy;
    for (int64_t i = 0; i < steps; ++i, xr += advance * lanes, gr += width) {
      const Vector x0 = in_register(load_units(xr)), x1 = in_register(load_units(xr + lanes)),
                   x2 = in_register(load_units(xr + 2 * lanes));
#pragma GCC unroll 8
      for (int o = 0; o < outputs; ++o) {
        const Vector g = broadcast(gr + o);
        multiply_add<U>(sum[o][0], g, x0);
        multiply_add<U>(sum[o][1], g, x1);
        multiply_add<U>(sum[o][2], g, x2);
      }
    }
  }
#pragma GCC unroll 8
  for (int o = 0; o < outputs; ++o) {
#pragma GCC unroll 3
    for (int q = 0; q < taps; ++q) store_pixel(sums + (o * taps + q) * lanes, sum[o][q]);
  }
}

template <class T, int stride> void correlate(const T* x, const T* dy, T* dw, const GroupedConvSizes& s) {
  using U = Unit<T>;
  constexpr int advance = stride * depth<T>;
  const int64_t group = s.group, vectors = group / lanes, groups = s.c / group,
                steps = (s.ow + depth<T> - 1) / depth<T>, cols = (steps - 1) * advance + taps;
  const int64_t row_units = (stride * cols + steps) * group;
  const int64_t rows = std::clamp<int64_t>(buffer_bytes / static_cast<int64_t>(sizeof(U)) / row_units, 1, s.oh);
  const int64_t chunks = (s.oh + rows - 1) / rows, per_group = taps * group * taps * group;  // [p, vector, o, q, c]
  const auto add_units = [&](int64_t begin, int64_t end, float* sums) {
    const int64_t x_rows = (rows - 1) * stride + taps, x_row = cols * lanes, dy_row = steps * group;
    std::vector<U> pixels(vectors * x_rows * x_row + lanes), gradients(rows * dy_row + lanes);
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t chunk = unit % chunks, image = unit / chunks % s.n, g = unit / chunks / s.n;
      const int64_t first = chunk * rows, here = std::min(s.oh, first + rows) - first, top = first * stride - 1;
      for (int64_t v = 0; v < vectors; ++v) {
        for (int64_t r = 0; r < (here - 1) * stride + taps; ++r)
          copy_row(x + image * s.h * s.w * s.c + g * group + v * lanes, s.h, s.w, s.c, top + r, -1, 1, stride, cols,
                   pixels.data() + (v * x_rows + r) * x_row, lanes);
        for (int64_t r = 0; r < here; ++r)
          copy_row(dy + image * s.oh * s.ow * s.c + g * group + v * lanes, s.oh, s.ow, s.c, first + r, 0, depth<T>, 1,
                   steps, gradients.data() + r * dy_row + v * lanes, group);
      }
      for (int64_t p = 0; p < taps; ++p) {
        // Rows of x outside the image add nothing.
        const int64_t y0 = top + p < 0 ? 1 : 0, y1 = std::min(here, (s.h - 1 - top - p) / stride + 1);
        if (y1 <= y0) continue;
        for (int64_t v = 0; v < vectors; ++v) {
          for (int64_t o = 0; o < group; o += outputs)
            correlate_rows<U, advance>(pixels.data() + (v * x_rows + y0 * stride + p) * x_row, stride * x_row,
                                       gradients.data() + y0 * dy_row + o, dy_row, group, y1 - y0, steps,
                                       sums + g * per_group + ((p * vectors + v) * group + o) * taps * lanes);
        }
      }
    }
  };
  const std::vector<float> total = partial_sums(groups * s.n * chunks, 1, groups * per_group, add_units);
  for (int64_t o = 0; o < s.c; ++o) {
    for (int64_t v = 0; v < vectors; ++v) {
      float block[lanes * taps * taps];  // [c, p, q]
      for (int64_t p = 0; p < taps; ++p) {
        const float* from =
            total.data() + o / group * per_group + ((p * vectors + v) * group + o % group) * taps * lanes;
        for (int64_t q = 0; q < taps; ++q) {
          for (int64_t c = 0; c < lanes; ++c) block[c * taps * taps + p * taps + q] = from[q * lanes + c];
        }
      }
      T* to = dw + (o * group + v * lanes) * taps * taps;
#pragma omp simd
      for (int64_t i = 0; i < lanes * taps * taps; ++i) to[i] = T(block[i]);
    }
  }
}

}  // namespace

template <class T> void grouped_conv_backward_wide_weights(const T* x, const T* dy, T* dw, const GroupedConvSizes& s) {
  if (s.stride == 1) return correlate<T, 1>(x, dy, dw, s);
  correlate<T, 2>(x, dy, dw, s);
}

template void grouped_conv_backward_wide_weights(const float*, const float*, float*, const GroupedConvSizes&);
template void grouped_conv_backward_wide_weights(const bf16*, const bf16*, bf16*, const GroupedConvSizes&);

}  // namespace weft
