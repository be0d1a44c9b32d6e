// The gradient of the weights. A vector holds neighbouring channels of one pixel, that is one or some whole groups. In
// step c a shuffle gives every lane channel c of its own group of x, to be multiplied with the lane's dy. Threads take
// (image, a vector of channels, some rows); the unit's pixels are first copied to a padded f32 buffer in the nearest
// caches, so that the inner loops know neither borders nor dtypes.
#include "kernels/device/grouped_conv.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/device/partial_sums.h"
#include "kernels/device/unit_vector.h"

namespace weft {

namespace {

constexpr int taps = 3;
constexpr int64_t buffer_floats = 1 << 15;  // 128 KiB

typedef int32_t Indices __attribute__((vector_size(lanes * sizeof(int32_t))));

// masks.channel[c] gives every lane channel c of the lane's own group.
struct Masks {
  Indices channel[lanes];
  explicit Masks(int group) {
    for (int c = 0; c < group; ++c) {
      for (int l = 0; l < lanes; ++l) channel[c][l] = l / group * group + c;
    }
  }
};

// Rows [first, first + rows) of a vector of one image's channels from `block` on, as f32 with a zero border around: to
// [rows, cols, lanes], where row and column 0 are the border's.
template <class T>
void padded_rows(const T* image, int64_t h, int64_t w, int64_t c, int64_t block, int64_t first, int64_t rows,
                 int64_t cols, int row_border, int border, float* to) {
  const int64_t here = std::min<int64_t>(lanes, c - block);
  for (int64_t r = 0; r < rows; ++r) {
    float* row = to + r * cols * lanes;
    const int64_t y = first + r - row_border;
    const bool inside = y >= 0 && y < h;
    const int64_t columns = inside ? std::min(w, cols - border) : 0;
    const T* from = image + y * w * c + block;
    if (here < lanes || !inside) {
      std::memset(row, 0, cols * lanes * sizeof(float));
      for (int64_t x = 0; x < columns; ++x) {
        for (int64_t l = 0; l < here; ++l) row[(border + x) * lanes + l] = static_cast<float>(from[x * c + l]);
      }
    } else {
      for (float* end = row + border * lanes; row < end; row += lanes) store_pixel(row, Vector{});
      for (const T* end = from + columns * c; from < end; from += c, row += lanes) store_pixel(row, load_pixel(from));
      for (float* end = to + (r + 1) * cols * lanes; row < end; row += lanes) store_pixel(row, Vector{});
    }
  }
}

// How many rows of the result a unit takes, so that its buffer stays small; even, so that the rows' parity is the
// unit's own.
int64_t rows_of_unit(int64_t rows, int64_t floats_per_row) {
  return std::clamp<int64_t>(buffer_floats / floats_per_row / 2 * 2, 2, std::max<int64_t>(rows, 2));
}

// Channel c of every lane's own group of a pixel.
template <int group> [[gnu::always_inline]] inline Vector channel_of(const float* pixel, int c, const Masks& masks) {
  if constexpr (group == lanes) return broadcast(pixel + c);
  return in_register(__builtin_shuffle(load(pixel), masks.channel[c]));
}

// Rows of x and of dy, as far apart as given, one row of x's taps after the other of dy's pixels.
struct Rows {
  int64_t count, x_step, dy_step, ow;
};

// Adds the products of channels [first, first + count) of every group in rows of x and of dy to their sums
// [count, 3, lanes]. dy has two zero pixels before and after.
template <int stride, int group, int first, int count>
void correlate_channels(const float* x, const float* dy, const Rows& rows, const Masks& masks, float* sums) {
  Vector sum[count][taps];
  for (int c = 0; c < count; ++c) {
    for (int q = 0; q < taps; ++q) sum[c][q] = load(sums + (c * taps + q) * lanes);
  }
  for (int64_t row = 0; row < rows.count; ++row, x += rows.x_step, dy += rows.dy_step) {
    if constexpr (stride == 1) {
      for (int64_t j = 0; j < rows.ow + 2; ++j) {
        const Vector d0 = in_register(load(dy + (j + 2) * lanes)), d1 = in_register(load(dy + (j + 1) * lanes)),
                     d2 = in_register(load(dy + j * lanes));
#pragma GCC unroll 8
        for (int c = 0; c < count; ++c) {
          const Vector v = channel_of<group>(x + j * lanes, first + c, masks);
          sum[c][0] += v * d0;
          sum[c][1] += v * d1;
          sum[c][2] += v * d2;
        }
      }
    } else {
      for (int64_t t = 0; t < rows.ow + 1; ++t) {
        const Vector d0 = in_register(load(dy + (t + 2) * lanes)), d2 = in_register(load(dy + (t + 1) * lanes));
#pragma GCC unroll 8
        for (int c = 0; c < count; ++c) {
          const Vector even = channel_of<group>(x + 2 * t * lanes, first + c, masks);
          sum[c][0] += even * d0;
          sum[c][1] += channel_of<group>(x + (2 * t + 1) * lanes, first + c, masks) * d0;
          sum[c][2] += even * d2;
        }
      }
    }
  }
  for (int c = 0; c < count; ++c) {
    for (int q = 0; q < taps; ++q) store_pixel(sums + (c * taps + q) * lanes, sum[c][q]);
  }
}

// The same for all channels of the groups, as many at a time as there are registers for.
template <int stride, int group, int first = 0>
void correlate_rows(const float* x, const float* dy, const Rows& rows, const Masks& masks, float* sums) {
  constexpr int count = std::min(group - first, registers == 32 ? 8 : group == 4 ? 4 : 3);
  correlate_channels<stride, group, first, count>(x, dy, rows, masks, sums + first * taps * lanes);
  if constexpr (first + count < group) correlate_rows<stride, group, first + count>(x, dy, rows, masks, sums);
}

template <int stride, class T> void correlate(const T* x, const T* dy, T* dw, const GroupedConvSizes& s) {
  const int group = s.group;
  const int64_t blocks = (s.c + lanes - 1) / lanes, cols = (s.ow + 1) * stride + 2, dy_cols = s.ow + 4;
  const int64_t rows = rows_of_unit(s.oh, (cols * stride + dy_cols) * lanes), chunks = (s.oh + rows - 1) / rows;
  const int64_t per_block = taps * group * taps * lanes, units = s.n * blocks * chunks;
  const Masks masks(group);
  const int64_t grain = std::max<int64_t>(1, elements_grain / (rows * s.ow * group * taps * taps));
  const auto add_units = [&](int64_t begin, int64_t end, float* sums) {
    std::vector<float> pixels(((rows - 1) * stride + taps) * cols * lanes), gradients(rows * dy_cols * lanes);
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t chunk = unit % chunks, image = unit / chunks % s.n, block = unit / chunks / s.n;
      const int64_t first = chunk * rows, last = std::min(s.oh, first + rows);
      padded_rows(x + image * s.h * s.w * s.c, s.h, s.w, s.c, block * lanes, first * stride,
                  (last - first - 1) * stride + taps, cols, 1, 1, pixels.data());
      padded_rows(dy + image * s.oh * s.ow * s.c, s.oh, s.ow, s.c, block * lanes, first, last - first, dy_cols, 0, 2,
                  gradients.data());
      for (int p = 0; p < taps; ++p) {
        float* to = sums + block * per_block + p * group * taps * lanes;
        const float* xr = pixels.data() + p * cols * lanes;
        const Rows all{last - first, stride * cols * lanes, dy_cols * lanes, s.ow};
        if (group == 4) {
          correlate_rows<stride, 4>(xr, gradients.data(), all, masks, to);
        } else {
          correlate_rows<stride, 8>(xr, gradients.data(), all, masks, to);
        }
      }
    }
  };
  const std::vector<float> total = partial_sums(units, grain, blocks * per_block, add_units);
  for (int64_t o = 0; o < s.c; ++o) {
    for (int c = 0; c < group; ++c) {
      for (int k = 0; k < taps * taps; ++k) {
        const int p = k / taps, q = k % taps;
        dw[(o * group + c) * taps * taps + k] =
            T(total[o / lanes * per_block + ((p * group + c) * taps + q) * lanes + o % lanes]);
      }
    }
  }
}

}  // namespace

template <class T> void grouped_conv_backward_weights(const T* x, const T* dy, T* dw, const GroupedConvSizes& s) {
  if (s.stride == 1) {
    correlate<1>(x, dy, dw, s);
  } else {
    correlate<2>(x, dy, dw, s);
  }
}

template void grouped_conv_backward_weights(const float*, const float*, float*, const GroupedConvSizes&);
template void grouped_conv_backward_weights(const bf16*, const bf16*, bf16*, const GroupedConvSizes&);

}  // namespace weft
