// A tile is 12 pixels by 32 outputs: 24 vectors of sums, to which a step adds the products of 12 inputs (of bf16:
// pairs of neighbours), each broadcast, and 2 vectors of weights. That is 24 multiplications, of which a Zen 4 core
// does one a cycle, for 14 loads. (With AVX2 it is 6 pixels by 16 outputs: 12 multiplications for 8 loads.) The inputs
// of a block of pixels are first copied in lines of a vector, so that those of a tile are neighbours; 384 KiB of them
// stay in the second cache while the weights, a panel of outputs at a time, pass through it. Threads take blocks of
// pixels and ranges of outputs.
#include "kernels/device/pointwise_conv.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/device/parallel.h"
#include "kernels/device/unit_vector.h"

namespace weft {

namespace {

constexpr int panel_vectors = 2, panel = panel_vectors * lanes, tile_rows = registers == 32 ? 12 : 6;
constexpr int64_t block_bytes = 384 << 10;

int64_t lines_of(int64_t units) { return (units + lanes - 1) / lanes; }

// R pixels by a panel of outputs. in [lines, R, lanes], w [lines * lanes, panel].
template <class T, int R>
[[gnu::noinline]] void multiply_tile(const Unit<T>* in, int64_t lines, const Unit<T>* w, const T* bias,
                                     const T* residual, bool relu, T* y, int64_t y_step) {
  for (int64_t r = 0; residual && r < R; ++r) {
    __builtin_prefetch(residual + r * y_step);
    __builtin_prefetch(residual + r * y_step + panel - 1);
  }
  Vector sum[R][panel_vectors];
#pragma GCC unroll 2
  for (int v = 0; v < panel_vectors; ++v) {
    const Vector start = bias ? load_pixel(bias + v * lanes) : Vector{};
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sum[r][v] = start;
  }
  for (int64_t line = 0; line < lines; ++line, in += R * lanes) {
#pragma GCC unroll 2
    for (int k = 0; k < lanes; ++k, w += panel) {
      const Vector w0 = in_register(load_units(w)), w1 = in_register(load_units(w + lanes));
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Vector x = broadcast(in + r * lanes + k);
        multiply_add<Unit<T>>(sum[r][0], x, w0);
        multiply_add<Unit<T>>(sum[r][1], x, w1);
      }
    }
  }
  if (residual) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < panel_vectors; ++v) sum[r][v] += load_pixel(residual + r * y_step + v * lanes);
    }
  }
  if (relu) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < panel_vectors; ++v) sum[r][v] = sum[r][v] < 0.0f ? Vector{} : sum[r][v];  // a NaN stays one
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < panel_vectors; ++v) store_sums(y + r * y_step + v * lanes, sum[r][v]);
  }
}

template <class T, int R>
void multiply_rows(int64_t rows, const Unit<T>* in, int64_t lines, const Unit<T>* w, const T* bias, const T* residual,
                   bool relu, T* y, int64_t y_step) {
  if constexpr (R > 0) {
    if (rows == R) return multiply_tile<T, R>(in, lines, w, bias, residual, relu, y, y_step);
    multiply_rows<T, R - 1>(rows, in, lines, w, bias, residual, relu, y, y_step);
  }
}

// Pixels [first, first + rows) of the result: their inputs as tiles [lines, rows of the tile, lanes].
template <class T> void copy_block(const T* x, const PointwiseSizes& s, int64_t first, int64_t rows, Unit<T>* to) {
  constexpr int64_t line = lanes * depth<T>;
  const int64_t lines = lines_of(s.c / depth<T>);
  for (int64_t tile = 0; tile < rows; tile += tile_rows) {
    const int64_t here = std::min<int64_t>(tile_rows, rows - tile);
    for (int64_t r = 0; r < here; ++r) {
      int64_t pixel = first + tile + r;
      if (s.stride > 1) {
        const int64_t ox = pixel % s.ow, row = pixel / s.ow;
        pixel = (row / s.oh * s.h + row % s.oh * s.stride) * s.w + ox * s.stride;
      }
      const T* from = x + pixel * s.c;
      T* at = reinterpret_cast<T*>(to + (tile * lines + r) * lanes);
      int64_t c = 0;
      for (; c + line <= s.c; c += line, at += here * line)
        std::memcpy(static_cast<void*>(at), from + c, line * sizeof(T));
      if (c < s.c) {
        std::memset(static_cast<void*>(at), 0, line * sizeof(T));
        std::memcpy(static_cast<void*>(at), from + c, (s.c - c) * sizeof(T));
      }
    }
  }
}

}  // namespace

template <class T> bool pointwise_takes(int64_t c, int64_t o) {
#ifndef __AVX512BF16__
  if (std::is_same_v<T, bf16>) return false;
#endif
  return c % depth<T> == 0 && o % panel == 0;
}

template <class T> Tensor pack_pointwise(const Tensor& weight) {
  const int64_t o = weight.dim(0), c = weight.numel() / o, units = lines_of(c / depth<T>) * lanes;
  const Tensor packed = Tensor::zeros({o, units * depth<T>}, weight.dtype());
  const T* from = weight.data<T>();
  T* to = packed.data<T>();
  constexpr int64_t together = 64 * depth<T>;  // inputs, whose places in the panel stay in the nearest cache
  for (int64_t first = 0; first < o; first += panel) {
    for (int64_t begin = 0; begin < c; begin += together) {
      for (int64_t l = 0; l < panel; ++l) {
        const T* row = from + (first + l) * c;
        T* at = to + first * units * depth<T> + l * depth<T>;
        for (int64_t i = begin; i < std::min(c, begin + together); ++i)
          at[i / depth<T> * panel * depth<T> + i % depth<T>] = row[i];
      }
    }
  }
  return packed;
}

template <class T>
void pointwise_conv(const T* x, const T* packed, const T* bias, const T* residual, bool relu, T* y,
                    const PointwiseSizes& s) {
  const int64_t pixels = s.n * s.oh * s.ow, lines = lines_of(s.c / depth<T>), panels = s.o / panel,
                row_bytes = lines * lanes * static_cast<int64_t>(sizeof(Unit<T>));
  // As few blocks as stay in the cache, and ranges of outputs where those are too few for the threads.
  const int64_t threads = omp_in_parallel() ? 1 : omp_get_max_threads();
  const int64_t least = (pixels * row_bytes + block_bytes - 1) / block_bytes,
                rows = ((pixels + least - 1) / least + tile_rows - 1) / tile_rows * tile_rows,
                blocks = (pixels + rows - 1) / rows;
  const int64_t ranges = blocks % threads == 0 || blocks > 4 * threads ? 1 : std::min(threads, panels);
  const auto* w = reinterpret_cast<const Unit<T>*>(packed);
  parallel_for(blocks * ranges, 1, [&](int64_t begin, int64_t end) {
    static thread_local std::vector<Unit<T>> buffer;
    buffer.resize(std::max<size_t>(buffer.size(), rows * lines * lanes + 64 / sizeof(Unit<T>)));
    Unit<T>* in = reinterpret_cast<Unit<T>*>((reinterpret_cast<uintptr_t>(buffer.data()) + 63) & ~uintptr_t{63});
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t first = unit / ranges * rows, here = std::min(rows, pixels - first), range = unit % ranges;
      copy_block(x, s, first, here, in);
      const int64_t p0 = panels * range / ranges, p1 = panels * (range + 1) / ranges;
      // The next block's inputs come while this one is multiplied.
      const int64_t next = s.stride == 1 && unit + 1 < end && ranges == 1 ? std::min(rows, pixels - first - here) : 0;
      Ahead ahead(x + (first + here) * s.c, next * s.c * sizeof(T), (p1 - p0) * ((here + tile_rows - 1) / tile_rows));
      for (int64_t p = p0; p < p1; ++p) {
        for (int64_t tile = 0; tile < here; tile += tile_rows) {
          ahead.fetch();
          const int64_t at = (first + tile) * s.o + p * panel;
          multiply_rows<T, tile_rows>(std::min<int64_t>(tile_rows, here - tile), in + tile * lines * lanes, lines,
                                      w + p * panel * lines * lanes, bias ? bias + p * panel : nullptr,
                                      residual ? residual + at : nullptr, relu, y + at, s.o);
        }
      }
    }
  });
}

template bool pointwise_takes<float>(int64_t, int64_t);
template bool pointwise_takes<bf16>(int64_t, int64_t);
template Tensor pack_pointwise<float>(const Tensor&);
template Tensor pack_pointwise<bf16>(const Tensor&);
template void pointwise_conv(const float*, const float*, const float*, const float*, bool, float*,
                             const PointwiseSizes&);
template void pointwise_conv(const bf16*, const bf16*, const bf16*, const bf16*, bool, bf16*, const PointwiseSizes&);

}  // namespace weft
