// A vector holds 16 outputs of one pixel. The inputs under one row of the kernel are `kernel * c` neighbouring numbers,
// so a step multiplies a vector of weights with one input number for every pixel of a tile. Threads take rows of y; the
// rows of x under them are first copied to a padded f32 buffer.
#include "kernels/device/stem_conv.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

#include "kernels/device/parallel.h"
#include "kernels/device/pixel_vector.h"

namespace weft {

namespace {

constexpr int tile = 16;
constexpr int64_t rows_of_unit = 8;

// Rows [first, first + rows) of the padded image as f32, `length` numbers each; row 0 is the border's first.
template <class T>
void padded_rows(const T* image, const StemConvSizes& s, int64_t first, int64_t rows, int64_t length, float* to) {
  for (int64_t r = 0; r < rows; ++r, to += length) {
    const int64_t y = first + r - s.padding;
    std::fill(to, to + length, 0.0f);
    if (y < 0 || y >= s.h) continue;
    const T* from = image + y * s.w * s.c;
    const int64_t count = std::min(s.w * s.c, length - s.padding * s.c);
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) to[s.padding * s.c + i] = static_cast<float>(from[i]);
  }
}

int64_t padded_length(const StemConvSizes& s) {
  const int64_t pixels = (s.ow + tile - 1) / tile * tile;
  return ((pixels - 1) * s.stride + s.kernel) * s.c;
}

// Calls f(image, first row, last row) for every unit of a thread's share.
template <class F> void for_units(int64_t begin, int64_t end, const StemConvSizes& s, F&& f) {
  const int64_t chunks = (s.oh + rows_of_unit - 1) / rows_of_unit;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first = unit % chunks * rows_of_unit;
    f(unit / chunks, first, std::min(s.oh, first + rows_of_unit));
  }
}

}  // namespace

template <class T> void stem_conv_forward(const T* x, const T* weight, const T* bias, T* y, const StemConvSizes& s) {
  const int64_t blocks = s.o / lanes, inner = s.kernel * s.c, per_block = s.kernel * inner * lanes,
                length = padded_length(s);
  std::vector<float> w(blocks * per_block);  // [block, p, q and c, lane]
  for (int64_t o = 0; o < s.o; ++o) {
    for (int64_t c = 0; c < s.c; ++c) {
      for (int64_t k = 0; k < s.kernel * s.kernel; ++k) {
        w[o / lanes * per_block + (k * s.c + c) * lanes + o % lanes] =
            static_cast<float>(weight[(o * s.c + c) * s.kernel * s.kernel + k]);
      }
    }
  }
  parallel_for(s.n * ((s.oh + rows_of_unit - 1) / rows_of_unit), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> buffer(((rows_of_unit - 1) * s.stride + s.kernel) * length);
    for_units(begin, end, s, [&](int64_t image, int64_t first, int64_t last) {
      padded_rows(x + image * s.h * s.w * s.c, s, first * s.stride, (last - first - 1) * s.stride + s.kernel, length,
                  buffer.data());
      for (int64_t row = first; row < last; ++row) {
        for (int64_t left = 0; left < s.ow; left += tile) {
          const float* in = buffer.data() + (row - first) * s.stride * length + left * s.stride * s.c;
          for (int64_t block = 0; block < blocks; ++block) {
            Vector sum[tile];
            const Vector start = bias ? load_pixel(bias + block * lanes) : Vector{};
            for (int t = 0; t < tile; ++t) sum[t] = start;
            const float* wb = w.data() + block * per_block;
            const int64_t step = s.stride * s.c;
            for (int64_t p = 0; p < s.kernel; ++p) {
              for (int64_t k = 0; k < inner; ++k) {
                const Vector wk = load_pixel(wb + (p * inner + k) * lanes);
                const float* at = in + p * length + k;
#pragma GCC unroll 16
                for (int t = 0; t < tile; ++t) sum[t] += wk * at[t * step];
              }
            }
            T* to = y + ((image * s.oh + row) * s.ow + left) * s.o + block * lanes;
            const int64_t pixels = std::min<int64_t>(tile, s.ow - left);
            for (int64_t t = 0; t < pixels; ++t) store_pixel(to + t * s.o, sum[t]);
          }
        }
      }
    });
  });
}

template <class T> void stem_conv_backward_weights(const T* x, const T* dy, T* dw, const StemConvSizes& s) {
  const int64_t blocks = s.o / lanes, per_block = s.kernel * stem_taps * lanes, length = padded_length(s);
  std::mutex mutex;
  std::map<int64_t, std::vector<float>> parts;  // each thread's sums, by its first unit: added in that order
  parallel_for(s.n * ((s.oh + rows_of_unit - 1) / rows_of_unit), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(blocks * per_block), buffer(((rows_of_unit - 1) * s.stride + s.kernel) * length);
    for_units(begin, end, s, [&](int64_t image, int64_t first, int64_t last) {
      padded_rows(x + image * s.h * s.w * s.c, s, first * s.stride, (last - first - 1) * s.stride + s.kernel, length,
                  buffer.data());
      for (int64_t block = 0; block < blocks; ++block) {
        for (int64_t p = 0; p < s.kernel; ++p) {
          float* to = sums.data() + block * per_block + p * stem_taps * lanes;
          Vector sum[stem_taps];
          for (int k = 0; k < stem_taps; ++k) sum[k] = load_pixel(to + k * lanes);
          for (int64_t row = first; row < last; ++row) {
            const float* in = buffer.data() + ((row - first) * s.stride + p) * length;
            const T* g = dy + (image * s.oh + row) * s.ow * s.o + block * lanes;
            for (int64_t t = 0; t < s.ow; ++t) {
              const Vector gt = load_pixel(g + t * s.o);
              const float* at = in + t * s.stride * s.c;
#pragma GCC unroll 32
              for (int k = 0; k < stem_taps; ++k) sum[k] += gt * at[k];
            }
          }
          for (int k = 0; k < stem_taps; ++k) store_pixel(to + k * lanes, sum[k]);
        }
      }
    });
    const std::lock_guard lock(mutex);
    parts[begin] = std::move(sums);
  });
  std::vector<float> total(blocks * per_block);
  for (const auto& [begin, part] : parts) {
    for (size_t i = 0; i < total.size(); ++i) total[i] += part[i];
  }
  for (int64_t o = 0; o < s.o; ++o) {
    for (int64_t c = 0; c < s.c; ++c) {
      for (int64_t k = 0; k < s.kernel * s.kernel; ++k) {
        dw[(o * s.c + c) * s.kernel * s.kernel + k] =
            T(total[o / lanes * per_block + (k * s.c + c) * lanes + o % lanes]);
      }
    }
  }
}

template void stem_conv_forward(const float*, const float*, const float*, float*, const StemConvSizes&);
template void stem_conv_forward(const bf16*, const bf16*, const bf16*, bf16*, const StemConvSizes&);
template void stem_conv_backward_weights(const float*, const float*, float*, const StemConvSizes&);
template void stem_conv_backward_weights(const bf16*, const bf16*, bf16*, const StemConvSizes&);

}  // namespace weft
