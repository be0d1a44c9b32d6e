// A vector holds 16 outputs of one pixel. The inputs under one row of the kernel are `kernel * c` neighbouring numbers,
// so a step multiplies a vector of weights with one input number for every pixel of a tile. Threads take rows of y; the
// rows of x under them are first copied to a padded f32 buffer.
#include "kernels/device/stem_conv.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "kernels/device/parallel.h"
#include "kernels/device/unit_vector.h"

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

// Adds the products of one row of x, from the first pixel's taps on, and one of dy to the sums.
template <class T>
inline void correlate_row(const float* x, const T* dy, const StemConvSizes& s, Vector (&sum)[stem_taps]) {
  for (int64_t t = 0; t < s.ow; ++t) {
    const Vector g = load_pixel(dy + t * s.o);
    const float* at = x + t * s.stride * s.c;
#pragma GCC unroll 32
    for (int k = 0; k < stem_taps; ++k) sum[k] += g * at[k];
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
void correlate_row(const uint32_t* x, const bf16* dy, const StemConvSizes& s, Vector (&sum)[stem_taps]) {
  for (int64_t t = 0; t < s.ow; t += 2) {
    Halves one, other{};
    std::memcpy(&one, dy + t * s.o, sizeof(one));
    if (t + 1 < s.ow) std::memcpy(&other, dy + (t + 1) * s.o, sizeof(other));
    const Vector g =
        std::bit_cast<Vector>(__builtin_convertvector(one, Words) | __builtin_convertvector(other, Words) << 16);
    const uint32_t* at = x + t * s.stride * s.c;
#pragma GCC unroll 32
    for (int k = 0; k < stem_taps; ++k) multiply_add<uint32_t>(sum[k], broadcast(at + k), g);
  }
}
template <class T> using StemUnit = Unit<T>;
#else
template <class T> using StemUnit = float;
#endif

// A tile of pixels, inputs `step` numbers apart, known when this is compiled unless it is 0. w [rows, inner, 16].
template <int known_step>
[[gnu::noinline]] void multiply_tile(const float* in, int64_t length, int64_t step, int64_t rows, int64_t inner,
                                     const float* w, const Vector& start, Vector* out) {
  if (known_step > 0) step = known_step;
  Vector sum[tile];
#pragma GCC unroll 16
  for (int t = 0; t < tile; ++t) sum[t] = start;
  for (int64_t p = 0; p < rows; ++p, in += length) {
    for (int64_t k = 0; k < inner; ++k, w += lanes) {
      const Vector wk = load(w);
#pragma GCC unroll 16
      for (int t = 0; t < tile; ++t) sum[t] += wk * in[t * step + k];
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < tile; ++t) out[t] = sum[t];
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
            const float* wb = w.data() + block * per_block;
            if (s.stride * s.c == 6) {
              multiply_tile<6>(in, length, 6, s.kernel, inner, wb, start, sum);
            } else {
              multiply_tile<0>(in, length, s.stride * s.c, s.kernel, inner, wb, start, sum);
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
    std::vector<float> sums(blocks * per_block);
    std::vector<StemUnit<T>> buffer(((rows_of_unit - 1) * s.stride + s.kernel) * length);
    for_units(begin, end, s, [&](int64_t image, int64_t first, int64_t last) {
      padded_rows(x + image * s.h * s.w * s.c, s, first * s.stride, (last - first - 1) * s.stride + s.kernel, length,
                  buffer.data());
      for (int64_t block = 0; block < blocks; ++block) {
        for (int64_t p = 0; p < s.kernel; ++p) {
          float* to = sums.data() + block * per_block + p * stem_taps * lanes;
          Vector sum[stem_taps];
          for (int k = 0; k < stem_taps; ++k) sum[k] = load_pixel(to + k * lanes);
          for (int64_t row = first; row < last; ++row) {
            correlate_row(buffer.data() + ((row - first) * s.stride + p) * length,
                          dy + (image * s.oh + row) * s.ow * s.o + block * lanes, s, sum);
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
