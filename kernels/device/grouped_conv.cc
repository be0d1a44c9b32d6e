// A vector holds 16 (8) outputs of one pixel: a part of a group, a group, or some whole groups. In a step every lane
// multiplies its weight with one input number (of bf16: two neighbours) of its own group, which a broadcast or, for
// small groups, a shuffle brings there. The three taps of a row share it, so that a tile of W pixels takes W + 2 of
// them for 3 W multiplications. Threads take (images, rows, 1 KiB of channels). A unit's pixels are first copied,
// borders included, so that the channels of a vector are neighbours; small images are taken several at a time,
// interleaved.
#include "kernels/device/grouped_conv.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/device/parallel.h"
#include "kernels/device/unit_vector.h"

namespace weft {

namespace {

// A tile keeps its sums, and beside them the weights of three taps and an input, in registers.
constexpr int taps = 3, tile_sums = registers / 2, widest_tile = 10;
constexpr int64_t piece_bytes = 1024, buffer_bytes = 1 << 18;

// What the lanes take from a pixel: all its first unit or, `shuffled`, each that of its number.
template <bool shuffled, class U> [[gnu::always_inline]] inline Vector inputs(const U* pixel, const Words& lanes_take) {
  if constexpr (shuffled) return in_register(__builtin_shuffle(load_units(pixel), lanes_take));
  return broadcast(pixel);
}

// The inputs of one vector of outputs: `count` units of its group or groups, `offset` units into the pixel; lane l
// takes unit first[l] and those after it.
struct Source {
  int64_t offset, count;
  Words first = {};

  Source(int64_t channel, int group, int depth) : offset(channel / group * group / depth), count(group / depth) {
    for (int l = 0; l < lanes; ++l) first[l] = (channel + l) / group * group / depth - offset;
  }
};

// W neighbouring pixels of one row of each of R images. `in` is the column left of them in the first of `rows` rows of
// input, w the weights [rows, units, 3, lanes]. `whole`: they are the image's whole row, whose left border is skipped,
// and with stride 1 the right one.
template <class U, bool shuffled, int P, int stride, int R, int W, bool whole>
[[gnu::noinline]] void convolve_tile(const U* in, int64_t row_step, int64_t rows, const Source& source, const U* w,
                                     const Vector& start, Vector* out) {
  Vector sum[W][R];
#pragma GCC unroll 16
  for (int t = 0; t < W; ++t) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sum[t][r] = start;
  }
  constexpr int first = whole ? 1 : 0, last = (W - 1) * stride + taps - (whole && stride == 1);
  for (int64_t p = 0; p < rows; ++p) {
    const U* at = in + p * row_step + source.offset;
    Words take = source.first;
    for (int64_t c = 0; c < source.count; ++c, w += taps * lanes) {
      const Vector wq[taps] = {in_register(load_units(w)), in_register(load_units(w + lanes)),
                               in_register(load_units(w + 2 * lanes))};
#pragma GCC unroll 32
      for (int j = first; j < last; ++j) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const Vector v = inputs<shuffled>(at + (j * R + r) * P, take);
#pragma GCC unroll 3
          for (int q = 0; q < taps; ++q) {
            const int to = (j - q) / stride;
            if (j >= q && (j - q) % stride == 0 && to < W) multiply_add<U>(sum[to][r], v, wq[q]);
          }
        }
      }
      if (shuffled) {
        take += 1;
      } else {
        ++at;
      }
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < W; ++t) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) out[t * R + r] = sum[t][r];
  }
}

// The rows of dy that reach one row of dx, and the weights [units, 3, lanes] of each.
template <class U> struct Reaching {
  const U *row[2], *weights[2];
  int count = 0;
};

// The gradient of x for stride 2: 2 W neighbouring pixels of one row of dx of each of R images, from W + 1 pixels of dy
// in each of the rows that reach them.
template <class U, bool shuffled, int P, int R, int W>
[[gnu::noinline]] void spread_tile(const Reaching<U>& in, const Source& source, Vector* out) {
  Vector even[W][R]{}, odd[W][R]{};
  for (int k = 0; k < in.count; ++k) {
    const U *at = in.row[k] + source.offset, *w = in.weights[k];
    Words take = source.first;
    for (int64_t c = 0; c < source.count; ++c, w += taps * lanes) {
      const Vector w0 = in_register(load_units(w)), w1 = in_register(load_units(w + lanes)),
                   w2 = in_register(load_units(w + 2 * lanes));
#pragma GCC unroll 32
      for (int j = 0; j <= W; ++j) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const Vector v = inputs<shuffled>(at + (j * R + r) * P, take);
          if (j > 0) multiply_add<U>(odd[j - 1][r], v, w0);
          if (j == W) continue;
          multiply_add<U>(even[j][r], v, w1);
          multiply_add<U>(odd[j][r], v, w2);
        }
      }
      if (shuffled) {
        take += 1;
      } else {
        ++at;
      }
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < W; ++t) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) out[2 * t * R + r] = even[t][r], out[(2 * t + 1) * R + r] = odd[t][r];
  }
}

// Weights [C, group, 3, 3] as units [vector of outputs, p, unit of inputs, q, lane]. For the gradient of x inputs and
// outputs change places, and with stride 1 the taps are reversed.
template <class T> void arrange(const T* w, const GroupedConvSizes& s, bool gradient, T* to) {
  const int64_t units = s.group / depth<T>;
  int64_t places[taps * taps];  // of the taps
  for (int k = 0; k < taps * taps; ++k) {
    const int tap = gradient && s.stride == 1 ? taps * taps - 1 - k : k;
    places[k] = (tap / taps * units * taps + tap % taps) * lanes * depth<T>;
  }
  for (int64_t o = 0; o < s.c; ++o) {
    const int64_t base = o / s.group * s.group;
    for (int c = 0; c < s.group; ++c) {
      const int64_t out = gradient ? base + c : o, in = gradient ? o - base : c;
      const T* from = w + (o * s.group + c) * taps * taps;
      T* at = to + ((out / lanes * taps * units + in / depth<T>)*taps * lanes + out % lanes) * depth<T> + in % depth<T>;
      for (int k = 0; k < taps * taps; ++k) at[places[k]] = from[k];
    }
  }
}

// How a pass is cut into units of work: `images` images and `rows` rows of the result, in tiles of `width` pixels
// of the narrower of x and y, out of buffers of `cols` columns.
struct Cut {
  int64_t images = 1, width, rows, chunks, pieces, cols;

  // `sums`: how many vectors of sums a tile may keep for its pixels. `widest`: the widest tile.
  Cut(int64_t n, int64_t out_rows, int64_t out_cols, int stride, int64_t channels, int64_t piece, int sums,
      int widest) {
    width = std::min<int64_t>({8, widest, out_cols < 4 ? 2 : out_cols < 8 ? 4 : 8});
    if (width == 8 && widest == 10 && (out_cols + 9) / 10 * 10 < (out_cols + 7) / 8 * 8) width = 10;
    if (width < 8 && n % (sums / width) == 0) images = sums / width;
    cols = (out_cols + width - 1) / width * width * stride + 2;
    rows = std::clamp<int64_t>((buffer_bytes / (cols * images * piece_bytes) - 2) / stride / 2 * 2, 2,
                               std::max<int64_t>(out_rows, 2));
    chunks = (out_rows + rows - 1) / rows;
    pieces = (channels + piece - 1) / piece;
  }
};

// The channels of a unit of work, copied: blocks of [rows, cols, images, P] units.
template <class T, int P> class Piece {
 public:
  using U = Unit<T>;
  static constexpr int64_t block_channels = P * depth<T>, channels = piece_bytes / sizeof(T);

  // Rows [first, first + rows) of `images` images of x [h, w, c] from `channel` on, with `border` columns of zeros on
  // the left and zeros where there is no pixel.
  void copy(const T* x, int64_t h, int64_t w, int64_t c, int64_t channel, int64_t here, const Cut& cut, int64_t first,
            int64_t rows, int border) {
    constexpr int64_t pixel = block_channels;
    const int64_t images = cut.images, cols = cut.cols;
    row_step_ = cols * images * P;
    block_step_ = rows * row_step_;
    const int64_t blocks = (here + pixel - 1) / pixel;
    units_.resize(std::max<size_t>(units_.size(), blocks * block_step_ + lanes));
    T* to = reinterpret_cast<T*>(units_.data());
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t y = first + r, columns = y >= 0 && y < h ? std::min(w, cols - border) : 0;
      for (int64_t b = 0; b < blocks; ++b) {
        T* row = to + (b * block_step_ + r * row_step_) * depth<T>;
        std::memset(static_cast<void*>(row), 0, border * images * pixel * sizeof(T));
        std::memset(static_cast<void*>(row + (border + columns) * images * pixel), 0,
                    (cols - border - columns) * images * pixel * sizeof(T));
      }
      for (int64_t i = 0; i < images; ++i) {
        T* row = to + r * row_step_ * depth<T> + (border * images + i) * pixel;
        const T* from = x + (i * h + y) * w * c + channel;
        for (int64_t j = 0; j < columns; ++j, row += images * pixel, from += c) {
          int64_t b = 0;
          for (; (b + 1) * pixel <= here; ++b)
            std::memcpy(static_cast<void*>(row + b * block_step_ * depth<T>), from + b * pixel, pixel * sizeof(T));
          if (b < blocks)
            std::memcpy(static_cast<void*>(row + b * block_step_ * depth<T>), from + b * pixel,
                        (here - b * pixel) * sizeof(T));
        }
      }
    }
  }
  // The row of the block that holds the piece's channel `channel`.
  const U* row(int64_t channel, int64_t row) const {
    return units_.data() + channel / block_channels * block_step_ + row * row_step_;
  }
  int64_t row_step() const { return row_step_; }

 private:
  std::vector<U> units_;
  int64_t row_step_ = 0, block_step_ = 0;
};

// Calls f(first image, first row, last row, first channel, channels) for every unit of a thread's share.
template <class F>
void for_units(int64_t n, int64_t rows, int64_t channels, int64_t piece, const Cut& cut, F&& f) {
  parallel_for(n / cut.images * cut.chunks * cut.pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t channel = unit % cut.pieces * piece, first = unit / cut.pieces % cut.chunks * cut.rows;
      f(unit / cut.pieces / cut.chunks * cut.images, first, std::min(rows, first + cut.rows), channel,
        std::min(piece, channels - channel));
    }
  });
}

// `pixels` pixels of every image of a tile, R apart in `from`, to y: `here` channels of images `image_step` apart.
template <int R, class T>
void store_tile(const Vector* from, int64_t pixels, T* y, int64_t c, int64_t image_step, int64_t here) {
  for (int r = 0; r < R; ++r) {
    T* to = y + r * image_step;
    for (int64_t i = 0; i < pixels; ++i, to += c) {
      if (here >= lanes) {
        store_sums(to, from[i * R + r]);
      } else {
        for (int64_t l = 0; l < here; ++l) to[l] = T(from[i * R + r][l]);
      }
    }
  }
}

// Calls f with the images and the width of a cut, and whether a tile is the whole row, as compile-time constants.
template <class F> void with_tile(const Cut& cut, bool whole, F&& f) {
  constexpr int of_4 = tile_sums / 4, of_2 = tile_sums / 2;  // images
  if (cut.width == 10) return f.template operator()<1, 10, false>();
  if (cut.width == 8) return whole ? f.template operator()<1, 8, true>() : f.template operator()<1, 8, false>();
  if (cut.width == 4 && cut.images > 1)
    return whole ? f.template operator()<of_4, 4, true>() : f.template operator()<of_4, 4, false>();
  if (cut.width == 4) return f.template operator()<1, 4, false>();
  if (cut.images > 1) return whole ? f.template operator()<of_2, 2, true>() : f.template operator()<of_2, 2, false>();
  return f.template operator()<1, 2, false>();
}

// in [N, H, W, C] -> out [N, OH, OW, C] with the weights of arranged().
template <class T, bool shuffled, int P, int stride>
void convolve(const T* in, const Unit<T>* w, const T* bias, bool relu, T* out, const GroupedConvSizes& s) {
  using U = Unit<T>;
  using Pieces = Piece<T, P>;
  const Cut cut(s.n, s.oh, s.ow, stride, s.c, Pieces::channels, tile_sums, widest_tile);
  const int64_t units = s.group / depth<T>, image = s.oh * s.ow * s.c, total = s.n * s.h * s.w * s.c;
  with_tile(cut, s.ow == cut.width, [&]<int R, int W, bool whole>() {
    const auto unit = [&](int64_t n, int64_t first, int64_t last, int64_t channel, int64_t here) {
      static thread_local Pieces piece;
      const int64_t top = std::max<int64_t>(0, first * stride - 1), end = std::min(s.h, (last - 1) * stride + 2);
      piece.copy(in + n * s.h * s.w * s.c, s.h, s.w, s.c, channel, here, cut, top, end - top, 1);
      // What the next unit will copy, where that is what follows in memory, comes meanwhile.
      const int64_t next = (n * s.h + end) * s.w * s.c, next_rows = (last - first) * stride;
      const int64_t count = cut.pieces == 1 && cut.images == 1 ? std::min(next_rows * s.w * s.c, total - next) : 0;
      Ahead ahead(in + next, count * sizeof(T), (here + lanes - 1) / lanes * (last - first));
      for (int64_t v = 0; v < here; v += lanes) {
        Vector start{};
        for (int64_t l = 0; bias && l < std::min<int64_t>(lanes, here - v); ++l)
          start[l] = static_cast<float>(bias[channel + v + l]);
        const Source source(v % Pieces::block_channels, s.group, depth<T>);
        const U* weights = w + (channel + v) * taps * units * taps;
        for (int64_t y = first; y < last; ++y) {
          ahead.fetch();
          const int64_t p0 = y == 0 ? 1 : 0, p1 = std::min<int64_t>(taps, s.h + 1 - y * stride);
          const U* row = piece.row(v, y * stride - 1 + p0 - top);
          for (int64_t t = 0; t < s.ow; t += W) {
            Vector result[W * R];
            convolve_tile<U, shuffled, P, stride, R, W, whole>(row + t * stride * R * P, piece.row_step(), p1 - p0,
                                                               source, weights + p0 * units * taps * lanes, start,
                                                               result);
            if (relu) {
              for (Vector& sums : result) sums = sums < 0.0f ? Vector{} : sums;
            }
            store_tile<R>(result, std::min<int64_t>(W, s.ow - t), out + n * image + (y * s.ow + t) * s.c + channel + v,
                          s.c, image, here - v);
          }
        }
      }
    };
    for_units(s.n, s.oh, s.c, Pieces::channels, cut, unit);
  });
}

// dy [N, OH, OW, C] -> dx [N, H, W, C] for stride 2.
template <class T, bool shuffled, int P>
void spread(const T* dy, const Unit<T>* w, T* dx, const GroupedConvSizes& s) {
  using U = Unit<T>;
  using Pieces = Piece<T, P>;
  constexpr int sums = tile_sums / 2;  // of the even pixels, and as many of the odd ones
  const Cut cut(s.n, s.h, (s.w + 1) / 2, 1, s.c, Pieces::channels, sums, sums);
  const int64_t units = s.group / depth<T>, image = s.h * s.w * s.c;
  const auto each = [&]<int R, int W>() {
    const auto unit = [&](int64_t n, int64_t first, int64_t last, int64_t channel, int64_t here) {
      static thread_local Pieces piece;
      const int64_t top = first / 2, end = std::min(s.oh, last / 2 + 1);
      piece.copy(dy + n * s.oh * s.ow * s.c, s.oh, s.ow, s.c, channel, here, cut, top, end - top, 0);
      for (int64_t v = 0; v < here; v += lanes) {
        const Source source(v % Pieces::block_channels, s.group, depth<T>);
        for (int64_t y = first; y < last; ++y) {
          Reaching<U> reaching;
          for (int p = y % 2 == 0 ? 1 : 0; p < taps; p += 2) {
            const int64_t row = (y + 1 - p) / 2;
            if (row >= s.oh) continue;
            reaching.row[reaching.count] = piece.row(v, row - top);
            reaching.weights[reaching.count++] = w + ((channel + v) * taps + p * lanes) * units * taps;
          }
          for (int64_t t = 0; t < s.w; t += 2 * W) {
            Vector result[2 * W * R];
            spread_tile<U, shuffled, P, R, W>(reaching, source, result);
            store_tile<R>(result, std::min<int64_t>(2 * W, s.w - t), dx + n * image + (y * s.w + t) * s.c + channel + v,
                          s.c, image, here - v);
            for (int k = 0; k < reaching.count; ++k) reaching.row[k] += W * R * P;
          }
        }
      }
    };
    for_units(s.n, s.h, s.c, Pieces::channels, cut, unit);
  };
  if (cut.width == 8) return each.template operator()<1, std::min(8, sums)>();
  if (cut.width == 4 && cut.images > 1) return each.template operator()<sums / 4, 4>();
  if (cut.width == 4) return each.template operator()<1, 4>();
  if (cut.images > 1) return each.template operator()<sums / 2, 2>();
  return each.template operator()<1, 2>();
}

// Calls f with how a group's inputs get to the lanes, and the units of a copied pixel.
template <class T, class F> void with_group(int group, F&& f) {
  if (group < lanes) return f.template operator()<true, 16>();
  if (group <= 16 || depth<T> == 2) return f.template operator()<false, 16>();
  return f.template operator()<false, 32>();
}

}  // namespace

template <class T> Tensor pack_grouped_weights(const Tensor& w, const GroupedConvSizes& s, bool gradient) {
  const Tensor packed = Tensor::zeros({(s.c + lanes - 1) / lanes * lanes, s.group, taps, taps}, w.dtype());
  arrange(w.data<T>(), s, gradient, packed.data<T>());
  return packed;
}

template <class T>
void grouped_conv_forward(const T* x, const T* w, const T* bias, bool relu, T* y, const GroupedConvSizes& s) {
  const auto* units = reinterpret_cast<const Unit<T>*>(w);
  with_group<T>(s.group, [&]<bool shuffled, int P>() {
    if (s.stride == 1) return convolve<T, shuffled, P, 1>(x, units, bias, relu, y, s);
    convolve<T, shuffled, P, 2>(x, units, bias, relu, y, s);
  });
}

template <class T> void grouped_conv_backward_data(const T* dy, const T* w, T* dx, const GroupedConvSizes& s) {
  const auto* units = reinterpret_cast<const Unit<T>*>(w);
  with_group<T>(s.group, [&]<bool shuffled, int P>() {
    if (s.stride == 1) return convolve<T, shuffled, P, 1>(dy, units, nullptr, false, dx, s);
    spread<T, shuffled, P>(dy, units, dx, s);
  });
}

template Tensor pack_grouped_weights<float>(const Tensor&, const GroupedConvSizes&, bool);
template Tensor pack_grouped_weights<bf16>(const Tensor&, const GroupedConvSizes&, bool);
template void grouped_conv_forward(const float*, const float*, const float*, bool, float*, const GroupedConvSizes&);
template void grouped_conv_forward(const bf16*, const bf16*, const bf16*, bool, bf16*, const GroupedConvSizes&);
template void grouped_conv_backward_data(const float*, const float*, float*, const GroupedConvSizes&);
template void grouped_conv_backward_data(const bf16*, const bf16*, bf16*, const GroupedConvSizes&);

}  // namespace weft
