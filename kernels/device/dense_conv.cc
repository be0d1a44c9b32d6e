// The inputs under one row of the kernel are KW * C neighbouring numbers, so that a pixel's result is a product of that
// many numbers for every row of the kernel. A tile is 6 pixels of a row by 16 outputs, 4 by 24 or 12 by 8: 12 vectors
// of sums, to which a step adds the products of an input of each pixel, broadcast, and 1 to 3 vectors of weights. A
// panel of outputs at a time, the weights stay in the first caches. Threads take rows of y; the rows of x under them
// are first copied, with a border of zeros left and right; rows of the kernel above and below the image are left out.
// The gradient of x for a stride s is s * s such convolutions of dy, one for the pixels of each remainder, with the
// taps of the kernel that reach them. In the gradient of the weights a tile is 6, 4 or 12 of the neighbouring numbers
// of x by a panel of dy, kept in registers over the pixels of a unit of work.
#include "kernels/device/dense_conv.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/device/partial_sums.h"
#include "kernels/device/unit_vector.h"

namespace weft {

namespace {

constexpr int tile_sums = registers == 32 ? 24 : 12;
constexpr int64_t buffer_floats = 24 << 10;  // of a unit's rows of x, 96 KiB
constexpr int64_t panel_bytes = 6 << 10;     // of a unit's rows of dy, for the gradient of the weights

// Vectors of a panel: 3 where they divide the outputs, else 2 or, for a few outputs, 1; the last panel of these may
// have lanes to spare.
int panel_vectors(int64_t o) { return o % (3 * lanes) == 0 ? 3 : o > lanes ? 2 : 1; }
bool spare_lanes(int64_t o) { return o % (panel_vectors(o) * lanes) != 0; }
int64_t panels_of(int64_t o) { return (o + panel_vectors(o) * lanes - 1) / (panel_vectors(o) * lanes); }

template <class F> void with_panel(int64_t o, F&& f) {
  switch (panel_vectors(o)) {
    case 3: return f.template operator()<3>();
    case 2: return f.template operator()<2>();
    default: return f.template operator()<1>();
  }
}

// y[n, i, j] = the sum over p, q of x[n, i stride + p - top, j stride + q - left] w[p, q], a channels-last convolution
// whose results lie y_row and y_pixel numbers apart.
struct Correlation {
  int64_t n, h, w, c, kh, kw, stride, top, left, oh, ow, o, y_image, y_row, y_pixel;

  int64_t panel() const { return panel_vectors(o) * lanes; }
  int64_t inner() const { return kw * c; }
  int64_t row_floats() const { return std::max<int64_t>((ow - 1) * stride + kw, 1) * c; }
  int64_t weight_floats() const { return panels_of(o) * panel() * kh * inner(); }
  // The rows of the kernel that lie inside the image for row i of y.
  int64_t first_tap(int64_t i) const { return std::clamp<int64_t>(top - i * stride, 0, kh); }
  int64_t end_tap(int64_t i) const { return std::clamp<int64_t>(h + top - i * stride, first_tap(i), kh); }
  // The rows of y in [first, last) for which tap p lies inside the image.
  int64_t first_row(int64_t p, int64_t first) const {
    return std::max(first, p >= top ? 0 : (top - p + stride - 1) / stride);
  }
  int64_t end_row(int64_t p, int64_t last) const {
    return h + top - p <= 0 ? 0 : std::min(last, (h + top - p - 1) / stride + 1);
  }
};

Correlation forward_of(const ConvSizes& s) {
  return {s.n, s.h, s.w, s.c, s.kh, s.kw, s.stride, s.padding, s.padding, s.oh, s.ow, s.o, s.oh * s.ow * s.o,
          s.ow * s.o, s.o};
}

// Along one axis the pixels i = first + stride t of x and the taps a + stride u that reach them.
struct Remainder {
  int64_t first, count, tap, taps, before;

  Remainder(int64_t a, int64_t size, int64_t kernel, int64_t stride, int64_t padding) : tap(a) {
    first = ((a - padding) % stride + stride) % stride;
    count = first < size ? (size - first + stride - 1) / stride : 0;
    taps = a < kernel ? (kernel - a + stride - 1) / stride : 0;
    before = taps - 1 - (first + padding - a) / stride;  // rows of dy above the first of them that its taps reach
  }
};

// Calls f(correlation of dy, where its results begin in dx, the two remainders) for each.
template <class F> void for_remainders(const ConvSizes& s, F&& f) {
  for (int64_t a = 0; a < s.stride; ++a) {
    const Remainder y(a, s.h, s.kh, s.stride, s.padding);
    for (int64_t b = 0; b < s.stride; ++b) {
      const Remainder x(b, s.w, s.kw, s.stride, s.padding);
      const Correlation part{s.n, s.oh, s.ow, s.o, y.taps, x.taps, 1, y.before, x.before, y.count, x.count, s.c,
                             s.h * s.w * s.c, s.stride * s.w * s.c, s.stride * s.c};
      f(part, (y.first * s.w + x.first) * s.c, y, x);
    }
  }
}

// Calls f(place in [panel, kh, kw, c, lanes of the panel], output, p, q, input) for every weight, on several threads,
// in an order in which both sides stay in the nearest cache: some inputs of a panel at a time.
template <class F> void for_weights(const Correlation& k, F&& f) {
  constexpr int64_t together = 32;
  const int64_t panel = k.panel(), panel_floats = panel * k.kh * k.inner();
  const int64_t grain = elements_grain / std::max<int64_t>(panel_floats, 1) + 1;
  parallel_for(panels_of(k.o), grain, [&](int64_t first_panel, int64_t end_panel) {
    for (int64_t at = first_panel; at < end_panel; ++at) {
      const int64_t first = at * panel, outputs = std::min(panel, k.o - first);
      for (int64_t begin = 0; begin < k.c; begin += together) {
        const int64_t end = std::min(k.c, begin + together);
        for (int64_t p = 0; p < k.kh; ++p) {
          for (int64_t q = 0; q < k.kw; ++q) {
            const int64_t place = at * panel_floats + (p * k.kw + q) * k.c * panel;
            for (int64_t l = 0; l < outputs; ++l) {
              for (int64_t c = begin; c < end; ++c) f(place + c * panel + l, first + l, p, q, c);
            }
          }
        }
      }
    }
  });
}

// Rows [first, last) of an image, with zeros where its row does not reach.
void copy_rows(const float* image, const Correlation& k, int64_t first, int64_t last, float* to) {
  const int64_t length = k.row_floats(), begin = std::clamp<int64_t>(k.left * k.c, 0, length),
                skipped = std::max<int64_t>(-k.left, 0) * k.c;
  const int64_t count = std::clamp<int64_t>(k.w * k.c - skipped, 0, length - begin);
  for (int64_t row = first; row < last; ++row, to += length) {
    std::memset(to, 0, begin * sizeof(float));
    std::memcpy(to + begin, image + row * k.w * k.c + skipped, count * sizeof(float));
    std::memset(to + begin + count, 0, (length - begin - count) * sizeof(float));
  }
}

// R pixels by V vectors of outputs. w [rows, inner, V * lanes], bias [V * lanes] or null.
template <int V, int R>
[[gnu::noinline]] void multiply_tile(const float* in, int64_t row_step, int64_t step, int64_t rows, int64_t inner,
                                     const float* w, const float* bias, bool relu, float* y, int64_t y_step) {
  Vector sum[R][V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    const Vector start = bias ? load(bias + v * lanes) : Vector{};
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sum[r][v] = start;
  }
  for (int64_t p = 0; p < rows; ++p, in += row_step) {
    const float* pixel[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) pixel[r] = in + r * step;
#pragma GCC unroll 2
    for (int64_t k = 0; k < inner; ++k, w += V * lanes) {
      Vector wk[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) wk[v] = in_register(load(w + v * lanes));
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Vector x = broadcast(pixel[r] + k);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[r][v] += x * wk[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      if (relu) sum[r][v] = sum[r][v] < 0.0f ? Vector{} : sum[r][v];  // a NaN stays one
      store_pixel(y + r * y_step + v * lanes, sum[r][v]);
    }
  }
}

template <int V, int R>
void multiply_pixels(int64_t pixels, const float* in, int64_t row_step, int64_t step, int64_t rows, int64_t inner,
                     const float* w, const float* bias, bool relu, float* y, int64_t y_step) {
  if constexpr (R > 0) {
    if (pixels == R) return multiply_tile<V, R>(in, row_step, step, rows, inner, w, bias, relu, y, y_step);
    multiply_pixels<V, R - 1>(pixels, in, row_step, step, rows, inner, w, bias, relu, y, y_step);
  }
}

template <int V>
void correlate(const float* x, const float* w, const float* bias, bool relu, float* y, const Correlation& k) {
  constexpr int panel = V * lanes, widest = tile_sums / V;
  const int64_t length = k.row_floats(), inner = k.inner();
  const int64_t rows = std::clamp<int64_t>((buffer_floats / length - k.kh) / k.stride + 1, 1, k.oh),
                chunks = (k.oh + rows - 1) / rows, tiles = (k.ow + widest - 1) / widest;
  std::vector<float> starts(panels_of(k.o) * panel);
  if (bias) std::copy(bias, bias + k.o, starts.begin());
  parallel_for(k.n * chunks, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> buffer(((rows - 1) * k.stride + k.kh) * length);
    float spare[widest * panel];
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t image = unit / chunks, first = unit % chunks * rows, last = std::min(k.oh, first + rows);
      const int64_t x_first = std::max<int64_t>(0, first * k.stride - k.top),
                    x_last = std::min(k.h, (last - 1) * k.stride - k.top + k.kh);
      copy_rows(x + image * k.h * k.w * k.c, k, x_first, x_last, buffer.data());
      for (int64_t o = 0; o < k.o; o += panel) {
        const float* weights = w + o * k.kh * inner;
        const int64_t here = std::min<int64_t>(panel, k.o - o);
        for (int64_t i = first; i < last; ++i) {
          const int64_t p0 = k.first_tap(i), p1 = k.end_tap(i);
          const float* in = buffer.data() + (i * k.stride + p0 - k.top - x_first) * length;
          for (int64_t t = 0; t < tiles; ++t) {
            const int64_t j = k.ow * t / tiles, pixels = k.ow * (t + 1) / tiles - j;
            float* to = y + image * k.y_image + i * k.y_row + j * k.y_pixel + o;
            const bool whole = here == panel;
            multiply_pixels<V, widest>(pixels, in + j * k.stride * k.c, length, k.stride * k.c, p1 - p0, inner,
                               weights + p0 * inner * panel, bias ? starts.data() + o : nullptr, relu,
                               whole ? to : spare, whole ? k.y_pixel : panel);
            for (int64_t r = 0; !whole && r < pixels; ++r) std::copy_n(spare + r * panel, here, to + r * k.y_pixel);
          }
        }
      }
    }
  });
}

void correlate(const float* x, const float* w, const float* bias, bool relu, float* y, const Correlation& k) {
  with_panel(k.o, [&]<int V>() { correlate<V>(x, w, bias, relu, y, k); });
}

// Some rows of the same taps of x and of dy, in some images.
struct Sweep {
  int64_t images, rows, cols;
  int64_t x_image, x_row, x_step;     // numbers between images, rows and pixels
  int64_t dy_image, dy_row, dy_step;
};

// Adds the products of K neighbouring numbers of x and V vectors of dy at every pixel to sums [K, V * lanes].
template <int V, int K>
[[gnu::noinline]] void add_products(const float* x, const float* dy, const Sweep& s, float* sums) {
  Vector sum[K][V];
#pragma GCC unroll 16
  for (int k = 0; k < K; ++k) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[k][v] = load(sums + (k * V + v) * lanes);
  }
  for (int64_t image = 0; image < s.images; ++image) {
    for (int64_t row = 0; row < s.rows; ++row) {
      const float *xt = x + image * s.x_image + row * s.x_row, *dyt = dy + image * s.dy_image + row * s.dy_row;
#pragma GCC unroll 2
      for (int64_t t = 0; t < s.cols; ++t, xt += s.x_step, dyt += s.dy_step) {
        Vector g[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) g[v] = in_register(load(dyt + v * lanes));
#pragma GCC unroll 16
        for (int k = 0; k < K; ++k) {
          const Vector in = broadcast(xt + k);
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) sum[k][v] += in * g[v];
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int k = 0; k < K; ++k) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store_pixel(sums + (k * V + v) * lanes, sum[k][v]);
  }
}

template <int V, int K>
void add_some_products(int64_t count, const float* x, const float* dy, const Sweep& s, float* sums) {
  if constexpr (K > 0) {
    if (count == K) return add_products<V, K>(x, dy, s, sums);
    add_some_products<V, K - 1>(count, x, dy, s, sums);
  }
}

// A panel of `pixels` of dy as its pixels' neighbouring vectors, the spare lanes 0.
template <int V> void copy_panel(const float* dy, int64_t o, int64_t here, int64_t pixels, float* to) {
  constexpr int panel = V * lanes;
  for (int64_t t = 0; t < pixels; ++t, dy += o, to += panel) {
    if (here == panel) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) store_pixel(to + v * lanes, load(dy + v * lanes));
    } else {
      std::copy_n(dy, here, to);
    }
  }
}

// [panels, kh, kw * c, panel] of the gradient of the weights.
template <int V> std::vector<float> weights_gradient(const float* x, const float* dy, const Correlation& k) {
  constexpr int panel = V * lanes, together = tile_sums / V;
  const int64_t length = k.row_floats(), inner = k.inner(), panels = panels_of(k.o);
  const int64_t most = panel_bytes / static_cast<int64_t>(panel * sizeof(float)),  // pixels
                rows = std::clamp<int64_t>(most / k.ow, 1, k.oh), chunks = (k.oh + rows - 1) / rows,
                images = std::clamp<int64_t>(most / (rows * k.ow), 1, k.n), groups = (k.n + images - 1) / images,
                x_rows = (rows - 1) * k.stride + k.kh, pixels = images * rows * k.ow;
  return partial_sums(groups * chunks, 1, panels * panel * k.kh * inner, [&](int64_t begin, int64_t end, float* sums) {
    std::vector<float> buffer(images * x_rows * length), gradients(panels * pixels * panel);
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t image = unit / chunks * images, first = unit % chunks * rows, last = std::min(k.oh, first + rows);
      const int64_t x_first = std::max<int64_t>(0, first * k.stride - k.top),
                    x_last = std::min(k.h, (last - 1) * k.stride - k.top + k.kh);
      Sweep sweep{std::min(images, k.n - image), 0, k.ow, x_rows * length, k.stride * length, k.stride * k.c,
                  rows * k.ow * panel, k.ow * panel, panel};
      for (int64_t i = 0; i < sweep.images; ++i) {
        copy_rows(x + (image + i) * k.h * k.w * k.c, k, x_first, x_last, buffer.data() + i * sweep.x_image);
        const float* from = dy + ((image + i) * k.oh + first) * k.ow * k.o;
        for (int64_t o = 0; o < k.o; o += panel)
          copy_panel<V>(from + o, k.o, std::min<int64_t>(panel, k.o - o), (last - first) * k.ow,
                        gradients.data() + o * pixels + i * sweep.dy_image);
      }
      for (int64_t o = 0; o < panels * panel; o += panel) {
        for (int64_t p = 0; p < k.kh; ++p) {
          const int64_t i = k.first_row(p, first);
          sweep.rows = k.end_row(p, last) - i;
          if (sweep.rows <= 0) continue;
          const float* in = buffer.data() + (i * k.stride + p - k.top - x_first) * length;
          float* to = sums + (o * k.kh + p * panel) * inner;
          for (int64_t tap = 0; tap < inner; tap += together)
            add_some_products<V, together>(std::min<int64_t>(together, inner - tap), in + tap,
                                           gradients.data() + o * pixels + (i - first) * sweep.dy_row, sweep,
                                           to + tap * panel);
        }
      }
    }
  });
}

}  // namespace

bool dense_conv_by_hand() { return by_hand; }

Tensor pack_dense_weights(const Tensor& weight, const ConvSizes& s, bool gradient) {
  const float* w = weight.data<float>();
  const auto at = [&](int64_t o, int64_t c, int64_t p, int64_t q) { return w[((o * s.c + c) * s.kh + p) * s.kw + q]; };
  if (!gradient) {
    const Correlation k = forward_of(s);
    const Tensor packed = Tensor::empty({k.weight_floats()}, DType::f32);
    if (spare_lanes(s.o)) packed.fill(0);
    for_weights(k, [&, to = packed.data<float>()](int64_t place, int64_t o, int64_t p, int64_t q, int64_t c) {
      to[place] = at(o, c, p, q);
    });
    return packed;
  }
  int64_t count = 0;
  for_remainders(s, [&](const Correlation& k, auto&&...) { count += k.weight_floats(); });
  const Tensor packed = Tensor::empty({count}, DType::f32);
  if (spare_lanes(s.c)) packed.fill(0);
  float* to = packed.data<float>();
  for_remainders(s, [&](const Correlation& k, int64_t, const Remainder& y, const Remainder& x) {
    for_weights(k, [&](int64_t place, int64_t c, int64_t p, int64_t q, int64_t o) {
      to[place] = at(o, c, y.tap + s.stride * (k.kh - 1 - p), x.tap + s.stride * (k.kw - 1 - q));
    });
    to += k.weight_floats();
  });
  return packed;
}

void dense_conv_forward(const float* x, const float* packed, const float* bias, bool relu, float* y,
                        const ConvSizes& s) {
  correlate(x, packed, bias, relu, y, forward_of(s));
}

void dense_conv_backward_data(const float* dy, const float* packed, float* dx, const ConvSizes& s) {
  for_remainders(s, [&](const Correlation& k, int64_t at, auto&&...) {
    if (k.oh > 0 && k.ow > 0) correlate(dy, packed, nullptr, false, dx + at, k);
    packed += k.weight_floats();
  });
}

void dense_conv_backward_weights(const float* x, const float* dy, float* dw, const ConvSizes& s) {
  const Correlation k = forward_of(s);
  std::vector<float> total;
  with_panel(k.o, [&]<int V>() { total = weights_gradient<V>(x, dy, k); });
  for_weights(k, [&](int64_t place, int64_t o, int64_t p, int64_t q, int64_t c) {
    dw[((o * s.c + c) * s.kh + p) * s.kw + q] = total[place];
  });
}

}  // namespace weft
