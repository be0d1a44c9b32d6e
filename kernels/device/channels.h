// Statistics and elementwise passes over rows of channels (channels last), shared by batch_norm and group_norm.
// Few channels would leave short loops, so several rows are taken as one of `width` lanes; lane l belongs to channel l % C.
#pragma once

#include <optional>
#include <vector>

#include "kernels/device/parallel.h"
#include "kernels/device/rows.h"

namespace weft {

struct Lanes {
  int64_t channels, width, rows, tail;  // `rows` whole rows of `width` lanes, then `tail` lanes

  Lanes(int64_t rows_of_channels, int64_t channels) : channels(channels) {
    const int64_t fold = std::clamp<int64_t>(256 / std::max<int64_t>(channels, 1), 1, std::max<int64_t>(rows_of_channels, 1));
    width = fold * channels;
    rows = rows_of_channels / fold;
    tail = rows_of_channels % fold * channels;
  }

  /// One value a channel, repeated for every lane.
  template <class T> std::vector<T> repeat(const std::vector<T>& of_channel) const {
    std::vector<T> result(width);
    for (int64_t l = 0; l < width; ++l) result[l] = of_channel[l % channels];
    return result;
  }

  /// Rows that stay in the nearest cache between two passes.
  template <class T> int64_t block() const {
    return std::clamp<int64_t>((32 << 10) / std::max<int64_t>(width * sizeof(T), 1), 8, 64);
  }

  /// Pieces that the rows are summed in; their number decides the rounding, not which thread takes which.
  int64_t pieces() const { return std::clamp<int64_t>(rows * width / elements_grain, 1, omp_get_max_threads()); }
};

/// Of every channel: the mean, and the sum of the squared deviations from it.
struct ChannelMoments {
  std::vector<double> mean, squares;
};

/// Two passes over each block of rows in cache, relative to the block's first row; blocks are combined in double (Chan, Golub and
/// LeVeque 1979), so that a large mean costs no digits. One read of memory. At least one row.
template <class T> ChannelMoments channel_moments(const T* x, int64_t rows, int64_t channels) {
  using A = accumulator_t<T>;
  const Lanes lanes(rows, channels);
  const int64_t width = lanes.width, pieces = lanes.pieces();
  std::vector<double> means(pieces * width), squares(pieces * width);
  parallel_for(pieces, 1, [&](int64_t first_piece, int64_t last_piece) {
    std::vector<A> scratch(3 * width);
    A *origin = scratch.data(), *shift = origin + width, *square = shift + width;
    for (int64_t p = first_piece; p < last_piece; ++p) {
      double *mean = means.data() + p * width, *m2 = squares.data() + p * width;
      const int64_t begin = lanes.rows * p / pieces, end = lanes.rows * (p + 1) / pieces;
      for (int64_t b = begin; b < end; b += lanes.block<T>()) {
        const int64_t stop = std::min(end, b + lanes.block<T>()), count = stop - b, before = b - begin;
        for (int64_t l = 0; l < width; ++l) {
          origin[l] = x[b * width + l];
          shift[l] = square[l] = 0;
        }
        for (int64_t r = b + 1; r < stop; ++r) {
          const T* row = x + r * width;
#pragma omp simd
          for (int64_t l = 0; l < width; ++l) shift[l] += static_cast<A>(row[l]) - origin[l];
        }
        const A scale = A{1} / static_cast<A>(count);
#pragma omp simd
        for (int64_t l = 0; l < width; ++l) shift[l] *= scale;
        for (int64_t r = b; r < stop; ++r) {
          const T* row = x + r * width;
#pragma omp simd
          for (int64_t l = 0; l < width; ++l) {
            const A d = (static_cast<A>(row[l]) - origin[l]) - shift[l];
            square[l] += d * d;
          }
        }
        const double share = static_cast<double>(count) / (before + count), cross = share * before;
#pragma omp simd
        for (int64_t l = 0; l < width; ++l) {
          const double delta = static_cast<double>(origin[l]) + static_cast<double>(shift[l]) - mean[l];
          mean[l] += delta * share;
          m2[l] += static_cast<double>(square[l]) + delta * delta * cross;
        }
      }
    }
  });

  ChannelMoments total{std::vector<double>(channels), std::vector<double>(channels)};
  std::vector<double> seen(channels);
  const auto add = [&](int64_t channel, double count, double mean, double m2) {
    const double n = seen[channel] + count, delta = mean - total.mean[channel];
    if (count == 0) return;
    total.squares[channel] += m2 + delta * delta * seen[channel] * count / n;
    total.mean[channel] += delta * count / n;
    seen[channel] = n;
  };
  for (int64_t p = 0; p < pieces; ++p) {
    const double count = lanes.rows * (p + 1) / pieces - lanes.rows * p / pieces;
    for (int64_t l = 0; l < width; ++l) add(l % channels, count, means[p * width + l], squares[p * width + l]);
  }
  for (int64_t l = 0; l < lanes.tail; ++l) add(l % channels, 1, static_cast<double>(x[lanes.rows * width + l]), 0);
  return total;
}

/// Of every channel: sum of g and sum of g (x - centre).
struct ChannelSums {
  std::vector<double> g, gx;
};

/// `start(i)` makes the reader of a run of elements from i on: called in order with (i, n), it returns elements [i, i + n) of g in
/// accumulator precision; element i + l lies in lane l. One read of memory.
template <class T, class Start>
ChannelSums channel_sums(const T* x, int64_t rows, const std::vector<accumulator_t<T>>& centre, Start&& start) {
  using A = accumulator_t<T>;
  const int64_t channels = centre.size();
  const Lanes lanes(rows, channels);
  const int64_t width = lanes.width, pieces = lanes.pieces();
  const std::vector<A> centre_lanes = lanes.repeat(centre);
  const A* c = centre_lanes.data();
  std::vector<double> sums(pieces * width), products(pieces * width);
  parallel_for(pieces, 1, [&](int64_t first_piece, int64_t last_piece) {
    std::vector<A> scratch(2 * width);
    A *sum = scratch.data(), *product = sum + width;
    for (int64_t p = first_piece; p < last_piece; ++p) {
      const int64_t begin = lanes.rows * p / pieces, end = lanes.rows * (p + 1) / pieces;
      auto read = start(begin * width);
      for (int64_t b = begin; b < end; b += 64) {
        std::fill(scratch.begin(), scratch.end(), A{0});
        for (int64_t r = b; r < std::min(end, b + 64); ++r) {
          const T* row = x + r * width;
          const A* g = read(r * width, width);
#pragma omp simd
          for (int64_t l = 0; l < width; ++l) {
            sum[l] += g[l];
            product[l] += g[l] * (static_cast<A>(row[l]) - c[l]);
          }
        }
#pragma omp simd
        for (int64_t l = 0; l < width; ++l) {
          sums[p * width + l] += sum[l];
          products[p * width + l] += product[l];
        }
      }
    }
  });
  ChannelSums total{std::vector<double>(channels), std::vector<double>(channels)};
  for (int64_t i = 0; i < pieces * width; ++i) {
    total.g[i % width % channels] += sums[i];
    total.gx[i % width % channels] += products[i];
  }
  auto read = start(lanes.rows * width);
  const A* g = read(lanes.rows * width, lanes.tail);
  for (int64_t l = 0; l < lanes.tail; ++l) {
    total.g[l % channels] += g[l];
    total.gx[l % channels] += g[l] * (static_cast<double>(x[lanes.rows * width + l]) - centre[l % channels]);
  }
  return total;
}

/// The reader of channel_sums() for a g computed element by element: gradient(i, l). If `masked` is given, g is also written there.
template <class T, class F> struct GradientRows {
  F gradient;
  std::vector<accumulator_t<T>> row;
  std::optional<RowWriter<T>> masked;

  GradientRows(const F& gradient, T* masked_from, bool stream) : gradient(gradient) {
    if (masked_from) masked.emplace(masked_from, stream);
  }
  const accumulator_t<T>* operator()(int64_t i, int64_t n) {
    row.resize(n);
    accumulator_t<T>* g = row.data();
#pragma omp simd
    for (int64_t l = 0; l < n; ++l) g[l] = gradient(i + l, l);
    if (masked) masked->write(n, [g](int64_t l) { return g[l]; });
    return g;
  }
};

/// y[i] = f(i, l) for every element i, which lies in lane l; past the caches if `stream`.
template <class T, class F> void map_channels(T* y, int64_t rows, int64_t channels, bool stream, F&& f) {
  const Lanes lanes(rows, channels);
  const int64_t width = lanes.width;
  parallel_for(lanes.rows + (lanes.tail > 0), std::max<int64_t>(1, elements_grain / std::max<int64_t>(width, 1)), [&](int64_t begin, int64_t end) {
    RowWriter<T> out(y + begin * width, stream);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t base = r * width;
      out.write(r < lanes.rows ? width : lanes.tail, [&](int64_t l) { return f(base + l, l); });
    }
  });
}

}  // namespace weft
