// A tile is 2x2 pixels of y, which 4x4 pixels of x reach. With x, the weights and y in another basis of 16 points each,
//   y = A^T [(G w G^T) * (B^T x B)] A,
// the convolution is 16 products of [tiles, C] and [C, O], one for each point. A unit of work is a block of tiles: its
// inputs are transformed, 256 channels at a time, and stay in the second cache while the weights pass through it, a
// panel of outputs at a time; the panel's sums are transformed back as soon as they are whole. A step of a product is 6
// tiles by 16 outputs or 4 by 24: 12 vectors of sums in registers.
// The gradient of the weights is G^T [sum over tiles (B^T x B) * (A dy A^T)] G: a unit of work is 48 channels of x,
// whose sums [points, 48, O] take in a block of tiles after the other. Every sum has one order, whatever the threads.
#include "kernels/device/winograd_conv.h"

#include <algorithm>
#include <vector>

#include "kernels/device/parallel.h"
#include "kernels/device/product_tile.h"

namespace weft {

namespace {

constexpr int points = 16;
constexpr int64_t chunk = 256;              // channels whose inputs are transformed at a time
constexpr int64_t block_bytes = 384 << 10;  // of a block's transformed inputs
constexpr int64_t apart = 64;               // more numbers between points, so that they do not share places in a cache
constexpr int64_t gradient_chunk = 48, gradient_block = 96;  // channels and tiles, for the gradient of the weights

int panel_vectors(int64_t o) { return o % (3 * lanes) == 0 ? 3 : 2; }

template <class F> void with_panel(int64_t o, F&& f) {
  return panel_vectors(o) == 3 ? f.template operator()<3>() : f.template operator()<2>();
}

// y[n, i, j] = the sum over p, q of x[n, i + p - padding, j + q - padding] w[p, q], and the tiles of y.
struct Plan {
  int64_t n, h, w, c, padding, oh, ow, o;
  int64_t down() const { return (oh + 1) / 2; }
  int64_t across() const { return (ow + 1) / 2; }
  int64_t tiles() const { return n * down() * across(); }
};

Plan forward_of(const ConvSizes& s) { return {s.n, s.h, s.w, s.c, s.padding, s.oh, s.ow, s.o}; }
Plan data_of(const ConvSizes& s) { return {s.n, s.oh, s.ow, s.o, 2 - s.padding, s.h, s.w, s.c}; }

struct Tile {
  int64_t image, i, j;  // of its first pixel in y
};
Tile tile_at(const Plan& k, int64_t index) {
  const int64_t across = k.across(), down = k.down();
  return {index / (down * across), index / across % down * 2, index % across * 2};
}

// B^T of four rows of x, one of its four rows: d0 - d2, d1 + d2, d2 - d1, d1 - d3.
template <int row> [[gnu::always_inline]] inline Vector input_basis(Vector d0, Vector d1, Vector d2, Vector d3) {
  if constexpr (row == 0) return d0 - d2;
  if constexpr (row == 1) return d1 + d2;
  if constexpr (row == 2) return d2 - d1;
  return d1 - d3;
}

// Row `row` of B^T d B, where d's pixels are at from[16]: four vectors, `step` numbers apart.
template <int row>
[[gnu::always_inline]] inline void transform_row(const float* const* from, int64_t c, float* to, int64_t step) {
  Vector t[4];
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q)
    t[q] = input_basis<row>(load(from[q] + c), load(from[4 + q] + c), load(from[8 + q] + c), load(from[12 + q] + c));
  store_pixel(to, input_basis<0>(t[0], t[1], t[2], t[3]));
  store_pixel(to + step, input_basis<1>(t[0], t[1], t[2], t[3]));
  store_pixel(to + 2 * step, input_basis<2>(t[0], t[1], t[2], t[3]));
  store_pixel(to + 3 * step, input_basis<3>(t[0], t[1], t[2], t[3]));
}

// Channels [c0, c1) of tiles [first, first + count): [points, groups of `rows` tiles, lines of channels, tile of the
// group, lanes], points `step` numbers apart. zeros has c1 - c0 of them.
void transform_inputs(const float* x, const Plan& k, int64_t first, int64_t count, int64_t rows, int64_t c0, int64_t c1,
                      const float* zeros, float* to, int64_t step) {
  const int64_t channels = c1 - c0;
  for (int64_t t = 0; t < count; ++t) {
    const auto [image, i, j] = tile_at(k, first + t);
    const float* from[points];
    for (int64_t p = 0; p < 4; ++p) {
      const int64_t row = i + p - k.padding;
      for (int64_t q = 0; q < 4; ++q) {
        const int64_t col = j + q - k.padding;
        const bool inside = row >= 0 && row < k.h && col >= 0 && col < k.w;
        from[p * 4 + q] = inside ? x + ((image * k.h + row) * k.w + col) * k.c + c0 : zeros;
      }
    }
    const int64_t group = t / rows * rows, here = std::min(rows, count - group);
    float* at = to + group * channels + (t - group) * lanes;
    for (int64_t c = 0; c < channels; c += lanes, at += here * lanes) {
      transform_row<0>(from, c, at, step);
      transform_row<1>(from, c, at + 4 * step, step);
      transform_row<2>(from, c, at + 8 * step, step);
      transform_row<3>(from, c, at + 12 * step, step);
    }
  }
}

// A^T of four rows, one of its two: m0 + m1 + m2, m1 - m2 - m3.
template <int row> [[gnu::always_inline]] inline Vector result_basis(Vector m0, Vector m1, Vector m2, Vector m3) {
  if constexpr (row == 0) return m0 + m1 + m2;
  return m1 - m2 - m3;
}

// One of the two rows of y of a tile, of which `cols` pixels lie in the image.
template <int row>
[[gnu::always_inline]] inline void result_row(const float* sums, int64_t step, Vector bias, bool relu, int64_t cols,
                                              float* y, int64_t pixel) {
  Vector t[4];
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    t[q] = result_basis<row>(load(sums + q * step), load(sums + (4 + q) * step), load(sums + (8 + q) * step),
                             load(sums + (12 + q) * step));
  }
  Vector left = result_basis<0>(t[0], t[1], t[2], t[3]) + bias, right = result_basis<1>(t[0], t[1], t[2], t[3]) + bias;
  if (relu) {  // a NaN stays one
    left = left < 0.0f ? Vector{} : left;
    right = right < 0.0f ? Vector{} : right;
  }
  store_pixel(y, left);
  if (cols > 1) store_pixel(y + pixel, right);
}

// A panel's sums [points, count, panel], points `step` numbers apart, as pixels of y.
void transform_results(const float* sums, int64_t step, const Plan& k, int64_t first, int64_t count, int64_t panel,
                       const float* bias, bool relu, float* y) {
  for (int64_t t = 0; t < count; ++t) {
    const auto [image, i, j] = tile_at(k, first + t);
    float* at = y + ((image * k.oh + i) * k.ow + j) * k.o;
    for (int64_t v = 0; v < panel; v += lanes) {
      const Vector b = bias ? load(bias + v) : Vector{};
      const float* from = sums + t * panel + v;
      result_row<0>(from, step, b, relu, k.ow - j, at + v, k.o);
      if (i + 1 < k.oh) result_row<1>(from, step, b, relu, k.ow - j, at + k.ow * k.o + v, k.o);
    }
  }
}

// A of two rows of dy, one of its four: g0, g0 + g1, g0 - g1, -g1.
template <int row> [[gnu::always_inline]] inline Vector gradient_basis(Vector g0, Vector g1) {
  if constexpr (row == 0) return g0;
  if constexpr (row == 1) return g0 + g1;
  if constexpr (row == 2) return g0 - g1;
  return -g1;
}

template <int row>
[[gnu::always_inline]] inline void gradient_row(const float* const* from, int64_t o, float* to, int64_t step) {
  const Vector left = gradient_basis<row>(load(from[0] + o), load(from[2] + o)),
               right = gradient_basis<row>(load(from[1] + o), load(from[3] + o));
  store_pixel(to, gradient_basis<0>(left, right));
  store_pixel(to + step, gradient_basis<1>(left, right));
  store_pixel(to + 2 * step, gradient_basis<2>(left, right));
  store_pixel(to + 3 * step, gradient_basis<3>(left, right));
}

// A panel of dy's tiles [first, first + count): [points, tile, panel], points `step` numbers apart. zeros has a panel.
void transform_gradients(const float* dy, const Plan& k, int64_t first, int64_t count, int64_t panel,
                         const float* zeros, float* to, int64_t step) {
  for (int64_t t = 0; t < count; ++t, to += panel) {
    const auto [image, i, j] = tile_at(k, first + t);
    const float* at = dy + ((image * k.oh + i) * k.ow + j) * k.o;
    const bool down = i + 1 < k.oh, across = j + 1 < k.ow;
    const float* from[4] = {at, across ? at + k.o : zeros, down ? at + k.ow * k.o : zeros,
                            down && across ? at + (k.ow + 1) * k.o : zeros};
    for (int64_t o = 0; o < panel; o += lanes) {
      gradient_row<0>(from, o, to + o, step);
      gradient_row<1>(from, o, to + o + 4 * step, step);
      gradient_row<2>(from, o, to + o + 8 * step, step);
      gradient_row<3>(from, o, to + o + 12 * step, step);
    }
  }
}

// Adds the products of R channels of x and V vectors of dy at one point of every tile to sums [R, V * lanes].
template <int V, int R>
[[gnu::noinline]] void add_products(const float* x, int64_t x_step, const float* dy, int64_t tiles, float* sums) {
  Vector sum[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = load(sums + (r * V + v) * lanes);
  }
#pragma GCC unroll 2
  for (int64_t t = 0; t < tiles; ++t, x += x_step, dy += V * lanes) {
    Vector g[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) g[v] = in_register(load(dy + v * lanes));
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vector in = broadcast(x + r);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] += in * g[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store_pixel(sums + (r * V + v) * lanes, sum[r][v]);
  }
}

template <int V, int R>
void add_some_products(int64_t channels, const float* x, int64_t x_step, const float* dy, int64_t tiles, float* sums) {
  if constexpr (R > 0) {
    if (channels == R) return add_products<V, R>(x, x_step, dy, tiles, sums);
    add_some_products<V, R - 1>(channels, x, x_step, dy, tiles, sums);
  }
}

// A thread's memory for a call, which stays from call to call.
float* scratch(int64_t floats) {
  static thread_local std::vector<float> buffer;
  if (static_cast<int64_t>(buffer.size()) < floats + 16) buffer.resize(floats + 16);
  return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(buffer.data()) + 63) & ~uintptr_t{63});
}

// w [panels, points, C, panel].
template <int V> void convolve(const float* x, const float* w, const float* bias, bool relu, float* y, const Plan& k) {
  constexpr int panel = V * lanes, rows = tile_sums / V;
  const int64_t tiles = k.tiles(), panels = k.o / panel, channels = std::min(chunk, k.c),
                chunks = (k.c + chunk - 1) / chunk;
  // Blocks of tiles that stay in the cache, an even number for each thread; few tiles' outputs are shared out instead.
  const int64_t threads = omp_in_parallel() ? 1 : omp_get_max_threads();
  const int64_t most = block_bytes / static_cast<int64_t>(points * channels * sizeof(float)) / rows * rows;
  const bool share_outputs = tiles < threads * 4 * rows;
  const int64_t ranges = share_outputs ? std::min(threads, panels) : 1,
                least = share_outputs ? 1 : (tiles + most * threads - 1) / (most * threads) * threads,
                block = std::min(most, ((tiles + least - 1) / least + rows - 1) / rows * rows),
                blocks = (tiles + block - 1) / block;
  const int64_t input_step = block * channels + apart, sum_step = block * panel + apart,
                sums_floats = points * sum_step;
  parallel_for(blocks * ranges, 1, [&](int64_t begin, int64_t end) {
    const int64_t kept = chunks > 1 ? (panels + ranges - 1) / ranges : 1;  // panels whose sums wait for more channels
    float* zeros = scratch(channels + points * input_step + kept * sums_floats);
    std::fill_n(zeros, channels, 0.0f);
    float *in = zeros + channels, *all_sums = in + points * input_step;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t first = unit / ranges * block, count = std::min(block, tiles - first), range = unit % ranges;
      const int64_t p0 = panels * range / ranges, p1 = panels * (range + 1) / ranges;
      for (int64_t c0 = 0; c0 < k.c; c0 += chunk) {
        const int64_t c1 = std::min(k.c, c0 + chunk);
        transform_inputs(x, k, first, count, rows, c0, c1, zeros, in, input_step);
        for (int64_t p = p0; p < p1; ++p) {
          float* sums = all_sums + (chunks > 1 ? (p - p0) * sums_floats : 0);
          for (int64_t point = 0; point < points; ++point) {
            const float* weights = w + ((p * points + point) * k.c + c0) * panel;
            for (int64_t t = 0; t < count; t += rows) {
              multiply_rows<V, rows>(std::min<int64_t>(rows, count - t), in + point * input_step + t * (c1 - c0),
                                     c1 - c0, weights, nullptr, c0 > 0, sums + point * sum_step + t * panel, panel);
            }
          }
          if (c1 == k.c) {
            transform_results(sums, sum_step, k, first, count, panel, bias ? bias + p * panel : nullptr, relu,
                              y + p * panel);
          }
        }
      }
    }
  });
}

void convolve(const float* x, const float* w, const float* bias, bool relu, float* y, const Plan& k) {
  with_panel(k.o, [&]<int V>() { convolve<V>(x, w, bias, relu, y, k); });
}

// G of three rows of weights, one of its four: g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2.
template <int row> [[gnu::always_inline]] inline Vector tap_basis(Vector g0, Vector g1, Vector g2) {
  if constexpr (row == 0) return g0;
  if constexpr (row == 1) return (g0 + g1 + g2) * 0.5f;
  if constexpr (row == 2) return (g0 - g1 + g2) * 0.5f;
  return g2;
}

template <int row>
[[gnu::always_inline]] inline void tap_row(const float* taps, int64_t panel, float* to, int64_t step) {
  Vector t[3];
#pragma GCC unroll 3
  for (int q = 0; q < 3; ++q)
    t[q] = tap_basis<row>(load(taps + q * panel), load(taps + (3 + q) * panel), load(taps + (6 + q) * panel));
  store_pixel(to, tap_basis<0>(t[0], t[1], t[2]));
  store_pixel(to + step, tap_basis<1>(t[0], t[1], t[2]));
  store_pixel(to + 2 * step, tap_basis<2>(t[0], t[1], t[2]));
  store_pixel(to + 3 * step, tap_basis<3>(t[0], t[1], t[2]));
}

// One input's weights [9, panel] at the points of a panel, `step` numbers apart.
void transform_weights(const float* taps, int64_t panel, float* to, int64_t step) {
  for (int64_t v = 0; v < panel; v += lanes) {
    tap_row<0>(taps + v, panel, to + v, step);
    tap_row<1>(taps + v, panel, to + v + 4 * step, step);
    tap_row<2>(taps + v, panel, to + v + 8 * step, step);
    tap_row<3>(taps + v, panel, to + v + 12 * step, step);
  }
}

// G^T of four rows, one of its three.
template <int row> [[gnu::always_inline]] inline Vector weight_basis(Vector s0, Vector s1, Vector s2, Vector s3) {
  if constexpr (row == 0) return s0 + (s1 + s2) * 0.5f;
  if constexpr (row == 1) return (s1 - s2) * 0.5f;
  return (s1 + s2) * 0.5f + s3;
}

template <int row>
[[gnu::always_inline]] inline void weight_row(const float* sums, int64_t step, float* to, int panel) {
  Vector t[4];
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    t[q] = weight_basis<row>(load(sums + q * step), load(sums + (4 + q) * step), load(sums + (8 + q) * step),
                             load(sums + (12 + q) * step));
  }
  store_pixel(to, weight_basis<0>(t[0], t[1], t[2], t[3]));
  store_pixel(to + panel, weight_basis<1>(t[0], t[1], t[2], t[3]));
  store_pixel(to + 2 * panel, weight_basis<2>(t[0], t[1], t[2], t[3]));
}

// Sums [points, channels, panel] as dw [panel of O, channels of C, 9]; `row` numbers between outputs.
template <int V> void transform_sums(const float* sums, int64_t channels, float* dw, int64_t row) {
  constexpr int panel = V * lanes;
  const int64_t step = channels * panel;
  float taps[9 * panel];
  for (int64_t c = 0; c < channels; ++c) {
    for (int v = 0; v < panel; v += lanes) {
      const float* from = sums + c * panel + v;
      weight_row<0>(from, step, taps + v, panel);
      weight_row<1>(from, step, taps + v + 3 * panel, panel);
      weight_row<2>(from, step, taps + v + 6 * panel, panel);
    }
    for (int l = 0; l < panel; ++l) {
      for (int tap = 0; tap < 9; ++tap) dw[l * row + c * 9 + tap] = taps[tap * panel + l];
    }
  }
}

template <int V> void weights_gradient(const float* x, const float* dy, float* dw, const Plan& k) {
  constexpr int panel = V * lanes, together = tile_sums / V;
  const int64_t tiles = k.tiles(), panels = k.o / panel, chunks = (k.c + gradient_chunk - 1) / gradient_chunk;
  const int64_t threads = omp_in_parallel() ? 1 : omp_get_max_threads();
  const int64_t ranges = chunks % threads == 0 || chunks > 4 * threads ? 1 : std::min(threads, panels);
  const int64_t block = std::min(gradient_block, tiles), channels = std::min(gradient_chunk, k.c),
                input_step = block * channels + apart, gradient_step = block * panel + apart,
                sums_floats = points * channels * panel;
  parallel_for(chunks * ranges, 1, [&](int64_t begin, int64_t end) {
    const int64_t most = (panels + ranges - 1) / ranges;
    float* zeros = scratch(gradient_chunk + points * (input_step + gradient_step) + most * sums_floats);
    static_assert(gradient_chunk >= panel);
    std::fill_n(zeros, gradient_chunk, 0.0f);
    float *in = zeros + gradient_chunk, *gradients = in + points * input_step,
          *sums = gradients + points * gradient_step;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t c0 = unit / ranges * gradient_chunk, here = std::min(gradient_chunk, k.c - c0),
                    range = unit % ranges;
      const int64_t p0 = panels * range / ranges, p1 = panels * (range + 1) / ranges,
                    panel_sums = points * here * panel;
      std::fill_n(sums, (p1 - p0) * panel_sums, 0.0f);
      for (int64_t first = 0; first < tiles; first += block) {
        const int64_t count = std::min(block, tiles - first);
        transform_inputs(x, k, first, count, 1, c0, c0 + here, zeros, in, input_step);
        for (int64_t p = p0; p < p1; ++p) {
          transform_gradients(dy + p * panel, k, first, count, panel, zeros, gradients, gradient_step);
          for (int64_t point = 0; point < points; ++point) {
            for (int64_t c = 0; c < here; c += together) {
              add_some_products<V, together>(std::min<int64_t>(together, here - c), in + point * input_step + c, here,
                                             gradients + point * gradient_step, count,
                                             sums + (p - p0) * panel_sums + (point * here + c) * panel);
            }
          }
        }
      }
      for (int64_t p = p0; p < p1; ++p)
        transform_sums<V>(sums + (p - p0) * panel_sums, here, dw + (p * panel * k.c + c0) * 9, k.c * 9);
    }
  });
}

}  // namespace

bool winograd_takes(const ConvSizes& s, ConvPass pass) {
  const int64_t in = pass == ConvPass::data ? s.o : s.c, out = pass == ConvPass::data ? s.c : s.o;
  return by_hand && s.groups == 1 && s.kh == 3 && s.kw == 3 && s.stride == 1 &&
         s.padding <= 2 && in % lanes == 0 && in >= 2 * lanes && (out % (2 * lanes) == 0 || out % (3 * lanes) == 0);
}

Tensor pack_winograd_weights(const Tensor& weight, const ConvSizes& s, bool gradient) {
  const Plan k = gradient ? data_of(s) : forward_of(s);
  const int64_t panel = panel_vectors(k.o) * lanes;
  const Tensor packed = Tensor::empty({points * k.c * k.o}, DType::f32);
  const float* w = weight.data<float>();
  // Numbers between outputs and inputs of the plan, and the taps of the gradient in reverse.
  const int64_t out_step = gradient ? 9 : s.c * 9, in_step = gradient ? s.c * 9 : 9;
  // Inputs at a time: numbers just written one by one would be slow to read as vectors, and the points of one input
  // lie so far apart that they share places in the cache.
  constexpr int64_t together = 16;
  parallel_for(k.o / panel, 1, [&, to = packed.data<float>()](int64_t begin, int64_t end) {
    const int64_t step = together * panel + lanes;
    std::vector<float> taps(together * 9 * panel), transformed(points * step);
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t c0 = 0; c0 < k.c; c0 += together) {
        const int64_t c1 = std::min(k.c, c0 + together);
        for (int64_t l = 0; l < panel; ++l) {
          const float* from = w + (p * panel + l) * out_step + c0 * in_step;
          float* at = taps.data() + l;
          for (int64_t c = c0; c < c1; ++c, from += in_step) {
            for (int64_t tap = 0; tap < 9; ++tap, at += panel) *at = from[gradient ? 8 - tap : tap];
          }
        }
        for (int64_t c = 0; c < c1 - c0; ++c)
          transform_weights(taps.data() + c * 9 * panel, panel, transformed.data() + c * panel, step);
        for (int64_t point = 0; point < points; ++point) {
          std::copy_n(transformed.data() + point * step, (c1 - c0) * panel,
                      to + ((p * points + point) * k.c + c0) * panel);
        }
      }
    }
  });
  return packed;
}

void winograd_conv_forward(const float* x, const float* packed, const float* bias, bool relu, float* y,
                           const ConvSizes& s) {
  convolve(x, packed, bias, relu, y, forward_of(s));
}

void winograd_conv_backward_data(const float* dy, const float* packed, float* dx, const ConvSizes& s) {
  convolve(dy, packed, nullptr, false, dx, data_of(s));
}

void winograd_conv_backward_weights(const float* x, const float* dy, float* dw, const ConvSizes& s) {
  const Plan k = forward_of(s);
  with_panel(k.o, [&]<int V>() { weights_gradient<V>(x, dy, dw, k); });
}

}  // namespace weft
