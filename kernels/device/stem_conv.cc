// A block is 16 outputs of one pixel: a vector, or two without AVX-512. The inputs under one row of the kernel are
// `kernel * c` neighbouring numbers, so a step multiplies a block of weights with one input number for every pixel of a
// tile. Threads take rows of y; the rows of x under them are first copied to a padded f32 buffer.
#include "kernels/device/stem_conv.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/device/partial_sums.h"
#include "kernels/device/unit_vector.h"

namespace weft {

namespace {

constexpr int block = 16, vectors = block / lanes, tile = vectors == 1 ? 16 : 6;
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

// Adds the products of `count` taps of one row of x, whose first pixel's are at x, and one block of a row of dy to the
// sums.
template <int count, class T>
inline void correlate_row(const float* x, const T* dy, const StemConvSizes& s, Vector (&sum)[count][vectors]) {
  for (int64_t t = 0; t < s.ow; ++t) {
    Vector g[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) g[v] = load_pixel(dy + t * s.o + v * lanes);
    const float* at = x + t * s.stride * s.c;
#pragma GCC unroll 32
    for (int k = 0; k < count; ++k) {
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sum[k][v] += g[v] * at[k];
    }
  }
}

#ifdef __AVX512BF16__
// The same rows of the padded image as units: each number and the one a pixel of the result further on.
void padded_rows(const bf16* image, const StemConvSizes& s, int64_t first, int64_t rows, int64_t length, uint32_t* to) {
  const int64_t apart = s.stride * s.c, border = s.padding * s.c;
  std::vector<uint16_t> row(length + apart);
  for (int64_t r = 0; r < rows; ++r, to += length) {
    const int64_t y = first + r - s.padding;
    std::fill(row.begin(), row.end(), 0);
    if (y >= 0 && y < s.h)
      std::memcpy(row.data() + border, image + y * s.w * s.c, std::min(s.w * s.c, length - border) * sizeof(bf16));
#pragma omp simd
    for (int64_t i = 0; i < length; ++i) to[i] = row[i] | static_cast<uint32_t>(row[i + apart]) << 16;
  }
}

// Two pixels of dy at a time.
template <int count>
void correlate_row(const uint32_t* x, const bf16* dy, const StemConvSizes& s, Vector (&sum)[count][vectors]) {
  for (int64_t t = 0; t < s.ow; t += 2) {
    Halves one, other{};
    std::memcpy(&one, dy + t * s.o, sizeof(one));
    if (t + 1 < s.ow) std::memcpy(&other, dy + (t + 1) * s.o, sizeof(other));
    const Vector g =
        std::bit_cast<Vector>(__builtin_convertvector(one, Words) | __builtin_convertvector(other, Words) << 16);
    const uint32_t* at = x + t * s.stride * s.c;
#pragma GCC unroll 32
    for (int k = 0; k < count; ++k) multiply_add<uint32_t>(sum[k][0], broadcast(at + k), g);
  }
}
template <class T> using StemUnit = Unit<T>;
#else
template <class T> using StemUnit = float;
#endif

// All taps from `first` on of `rows` rows, as many at a time as there are registers for. sums [taps, 16].
template <int first, class U, class T>
void correlate_rows(const U* x, int64_t x_step, const T* dy, int64_t rows, const StemConvSizes& s, float* sums) {
  if constexpr (first < stem_taps) {
    constexpr int count = std::min<int>(registers == 32 ? stem_taps : 6, stem_taps - first);
    Vector sum[count][vectors];
    float* to = sums + first * block;
    for (int k = 0; k < count; ++k) {
      for (int v = 0; v < vectors; ++v) sum[k][v] = load_pixel(to + k * block + v * lanes);
    }
    for (int64_t row = 0; row < rows; ++row) correlate_row(x + row * x_step + first, dy + row * s.ow * s.o, s, sum);
    for (int k = 0; k < count; ++k) {
      for (int v = 0; v < vectors; ++v) store_pixel(to + k * block + v * lanes, sum[k][v]);
    }
    correlate_rows<first + count>(x, x_step, dy, rows, s, sums);
  }
}

// A tile of pixels, inputs `step` numbers apart, known when this is compiled unless it is 0. w [rows, inner, 16], start
// [16] or null, out [tile, 16].
template <int known_step, class T>
[[gnu::noinline]] void multiply_tile(const float* in, int64_t length, int64_t step, int64_t rows, int64_t inner,
                                     const float* w, const T* start, Vector* out) {
  if (known_step > 0) step = known_step;
  Vector sum[tile][vectors];
#pragma GCC unroll 16
  for (int t = 0; t < tile; ++t) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) sum[t][v] = start ? load_pixel(start + v * lanes) : Vector{};
  }
  for (int64_t p = 0; p < rows; ++p, in += length) {
    for (int64_t k = 0; k < inner; ++k, w += block) {
      Vector wk[vectors];
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) wk[v] = load(w + v * lanes);
#pragma GCC unroll 16
      for (int t = 0; t < tile; ++t) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) sum[t][v] += wk[v] * in[t * step + k];
      }
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < tile; ++t) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) out[t * vectors + v] = sum[t][v];
  }
}

}  // namespace

template <class T> void stem_conv_forward(const T* x, const T* weight, const T* bias, T* y, const StemConvSizes& s) {
  const int64_t blocks = s.o / block, inner = s.kernel * s.c, per_block = s.kernel * inner * block,
                length = padded_length(s);
  std::vector<float> w(blocks * per_block);  // [block, p, q and c, 16]
  for (int64_t o = 0; o < s.o; ++o) {
    for (int64_t c = 0; c < s.c; ++c) {
      for (int64_t k = 0; k < s.kernel * s.kernel; ++k) {
        w[o / block * per_block + (k * s.c + c) * block + o % block] =
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
          for (int64_t b = 0; b < blocks; ++b) {
            Vector sum[tile * vectors];
            const T* start = bias ? bias + b * block : nullptr;
            const float* wb = w.data() + b * per_block;
            if (s.stride * s.c == 6) {
              multiply_tile<6>(in, length, 6, s.kernel, inner, wb, start, sum);
            } else {
              multiply_tile<0>(in, length, s.stride * s.c, s.kernel, inner, wb, start, sum);
            }
            T* to = y + ((image * s.oh + row) * s.ow + left) * s.o + b * block;
            const int64_t pixels = std::min<int64_t>(tile, s.ow - left);
            for (int64_t t = 0; t < pixels; ++t) {
              for (int v = 0; v < vectors; ++v) store_pixel(to + t * s.o + v * lanes, sum[t * vectors + v]);
            }
          }
        }
      }
    });
  });
}

template <class T> void stem_conv_backward_weights(const T* x, const T* dy, T* dw, const StemConvSizes& s) {
  const int64_t blocks = s.o / block, per_block = s.kernel * stem_taps * block, length = padded_length(s);
  const int64_t units = s.n * ((s.oh + rows_of_unit - 1) / rows_of_unit);
  const auto add_units = [&](int64_t begin, int64_t end, float* sums) {
    std::vector<StemUnit<T>> buffer(((rows_of_unit - 1) * s.stride + s.kernel) * length);
    for_units(begin, end, s, [&](int64_t image, int64_t first, int64_t last) {
      padded_rows(x + image * s.h * s.w * s.c, s, first * s.stride, (last - first - 1) * s.stride + s.kernel, length,
                  buffer.data());
      for (int64_t b = 0; b < blocks; ++b) {
        for (int64_t p = 0; p < s.kernel; ++p) {
          correlate_rows<0>(buffer.data() + p * length, s.stride * length,
                            dy + (image * s.oh + first) * s.ow * s.o + b * block, last - first, s,
                            sums + b * per_block + p * stem_taps * block);
        }
      }
    });
  };
  const std::vector<float> total = partial_sums(units, 1, blocks * per_block, add_units);
  for (int64_t o = 0; o < s.o; ++o) {
    for (int64_t c = 0; c < s.c; ++c) {
      for (int64_t k = 0; k < s.kernel * s.kernel; ++k) {
        dw[(o * s.c + c) * s.kernel * s.kernel + k] =
            T(total[o / block * per_block + (k * s.c + c) * block + o % block]);
      }
    }
  }
}

template void stem_conv_forward(const float*, const float*, const float*, float*, const StemConvSizes&);
template void stem_conv_forward(const bf16*, const bf16*, const bf16*, bf16*, const StemConvSizes&);
template void stem_conv_backward_weights(const float*, const float*, float*, const StemConvSizes&);
template void stem_conv_backward_weights(const bf16*, const bf16*, bf16*, const StemConvSizes&);

}  // namespace weft
