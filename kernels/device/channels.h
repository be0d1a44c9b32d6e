// Statistics and elementwise passes over rows of channels (channels last), shared by batch_norm and group_norm.
// Few channels would leave short loops, so several rows are taken as one of `width` lanes; lane l belongs to channel l % C.
// Rows are long enough for the processor to fetch their lines ahead, and short enough that what belongs to their lanes stays
// in the nearest cache.
#pragma once

#include <vector>

#include "kernels/device/parallel.h"
#include "kernels/device/rows.h"

namespace weft {

/// Lanes of a row where a pass reads few numbers a lane besides the tensors, and where it reads many.
inline constexpr int64_t forward_lanes = 1024, backward_lanes = 512;

struct Lanes {
  int64_t channels, width, rows, tail;  // `rows` whole rows of `width` lanes, then `tail` lanes

  Lanes(int64_t rows_of_channels, int64_t channels, int64_t most) : channels(channels) {
    const int64_t rows_of_lanes = most / std::max<int64_t>(channels, 1);
    const int64_t fold = std::clamp<int64_t>(rows_of_lanes, 1, std::max<int64_t>(rows_of_channels, 1));
    width = fold * channels;
    rows = rows_of_channels / fold;
    tail = rows_of_channels % fold * channels;
  }

  /// One value a channel, repeated for every lane, and 0 up to padded(width).
  template <class T> std::vector<T> repeat(const std::vector<T>& of_channel) const {
    std::vector<T> result(padded(width));
    for (int64_t l = 0; l < width; ++l) result[l] = of_channel[l % channels];
    return result;
  }

  /// Pieces that the rows are summed in; their number decides the rounding, not which thread takes which.
  int64_t pieces() const { return std::clamp<int64_t>(rows * width / elements_grain, 1, omp_get_max_threads()); }
};

/// Of every channel: the mean, and the sum of the squared deviations from it.
struct ChannelMoments {
  std::vector<double> mean, squares;
};

/// Adds x - origin and its square to `sums` and `squares` for columns [c, c + n) of `count` rows of x, `width` apart.
template <int64_t count, class T, class A, class N>
[[gnu::always_inline]] inline void add_moments(const T* x, int64_t width, const A* origin, A* sums, A* squares,
                                               int64_t c, N n) {
  const RowLanes<A> from = row_vector(origin + c);
  RowLanes<A> sum = row_vector(sums + c), square = row_vector(squares + c);
  for (int64_t r = 0; r < count; ++r) {
    const RowLanes<A> d = load_lanes(x + r * width + c, n) - from;
    sum += d;
    square += d * d;
  }
  row_vector(sums + c) = sum;
  row_vector(squares + c) = square;
}

/// One pass over blocks of at most 64 rows, relative to the block's first row: with an element as origin, the sum of
/// squares is at most 64 times that of the deviations, so that little is lost where the mean's part is taken off. Blocks
/// are combined in double (Chan, Golub and LeVeque 1979), so that a large mean costs no digits. At least one row.
template <class T> ChannelMoments channel_moments(const T* x, int64_t rows, int64_t channels) {
  using A = accumulator_t<T>;
  constexpr int64_t block = 64, together = 4;
  const Lanes lanes(rows, channels, forward_lanes);
  const int64_t width = lanes.width, pieces = lanes.pieces();
  std::vector<double> means(pieces * width), squares(pieces * width);
  parallel_for(pieces, 1, [&](int64_t first_piece, int64_t last_piece) {
    std::vector<A> scratch(3 * padded(width));
    A *origin = scratch.data(), *sum = origin + padded(width), *square = sum + padded(width);
    const auto add = [=](auto rows_together, int64_t r) {
      each_lanes(width, [=](int64_t c, auto n) {
        add_moments<rows_together>(x + r * width, width, origin, sum, square, c, n);
      });
    };
    for (int64_t p = first_piece; p < last_piece; ++p) {
      double *mean = means.data() + p * width, *m2 = squares.data() + p * width;
      const int64_t begin = lanes.rows * p / pieces, end = lanes.rows * (p + 1) / pieces;
      for (int64_t b = begin; b < end; b += block) {
        const int64_t stop = std::min(end, b + block), count = stop - b, before = b - begin;
        read_row(x + b * width, origin, width);
        std::fill(sum, scratch.data() + scratch.size(), A{0});
        int64_t r = b + 1;
        for (; r + together <= stop; r += together) add(std::integral_constant<int64_t, together>(), r);
        for (; r < stop; ++r) add(std::integral_constant<int64_t, 1>(), r);
        const double each = 1.0 / count, share = static_cast<double>(count) / (before + count), cross = share * before;
#pragma omp simd
        for (int64_t l = 0; l < width; ++l) {
          const double of_lane = sum[l], shift = of_lane * each, delta = origin[l] + shift - mean[l];
          mean[l] += delta * share;
          m2[l] += std::max(square[l] - of_lane * shift, 0.0) + delta * delta * cross;
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

/// gradient(i, l, n) gives elements [i, i + n) of g as a vector; they lie in lanes from l on of rows of backward_lanes, n
/// is a count of each_lanes(). If `masked` is given, g is also written there. One read of memory.
template <class T, class F>
ChannelSums channel_sums(const T* x, int64_t rows, const std::vector<accumulator_t<T>>& centre, T* masked, F&& gradient) {
  using A = accumulator_t<T>;
  constexpr int64_t block = 64;
  const int64_t channels = centre.size();
  const Lanes lanes(rows, channels, backward_lanes);
  const int64_t width = lanes.width, pieces = lanes.pieces();
  const bool stream = masked && streams<T>(rows * channels);
  const std::vector<A> centre_lanes = lanes.repeat(centre);
  std::vector<double> sums(pieces * width), products(pieces * width);
  parallel_for(pieces, 1, [&](int64_t first_piece, int64_t last_piece) {
    std::vector<A> scratch(2 * padded(width));
    A *sum = scratch.data(), *product = sum + padded(width);
    // Adds row r's columns [c, c + n); returns their g.
    const auto add = [=, centre = centre_lanes.data()](int64_t r, int64_t c, auto n) {
      const int64_t i = r * width + c;
      const RowLanes<A> g = gradient(i, c, n);
      row_vector(sum + c) += g;
      row_vector(product + c) += g * (load_lanes(x + i, n) - row_vector(centre + c));
      return g;
    };
    for (int64_t piece = first_piece; piece < last_piece; ++piece) {
      const int64_t begin = lanes.rows * piece / pieces, end = lanes.rows * (piece + 1) / pieces;
      RowWriter<T> out(masked ? masked + begin * width : nullptr, stream);
      for (int64_t b = begin; b < end; b += block) {
        std::fill(scratch.begin(), scratch.end(), A{0});
        const int64_t stop = std::min(end, b + block);
        for (int64_t r = b; r < stop; ++r) {
          if (masked) {
            out.write_lanes(width, [&add, r](int64_t c, auto n) { return add(r, c, n); });
          } else {
            each_lanes(width, [&add, r](int64_t c, auto n) { add(r, c, n); });
          }
        }
#pragma omp simd
        for (int64_t l = 0; l < width; ++l) {
          sums[piece * width + l] += sum[l];
          products[piece * width + l] += product[l];
        }
      }
    }
  });
  ChannelSums total{std::vector<double>(channels), std::vector<double>(channels)};
  for (int64_t i = 0; i < pieces * width; ++i) {
    total.g[i % width % channels] += sums[i];
    total.gx[i % width % channels] += products[i];
  }
  const int64_t first = lanes.rows * width;
  RowWriter<T> out(masked ? masked + first : nullptr, stream);
  const auto add = [&](int64_t c, auto n) {
    const RowLanes<A> g = gradient(first + c, c, n), v = load_lanes(x + first + c, n);
    for (int64_t l = 0; l < n; ++l) {
      total.g[(c + l) % channels] += g[l];
      total.gx[(c + l) % channels] += g[l] * (static_cast<double>(v[l]) - centre[(c + l) % channels]);
    }
    return g;
  };
  if (masked) {
    out.write_lanes(lanes.tail, add);
  } else {
    each_lanes(lanes.tail, add);
  }
  return total;
}

/// Elements [i, i + n) of y are the vector f(i, l, n); they lie in lanes from l on. Past the caches if `stream`.
template <class T, class F> void map_channels(T* y, const Lanes& lanes, bool stream, F&& f) {
  const int64_t width = lanes.width;
  parallel_for(lanes.rows + (lanes.tail > 0), std::max<int64_t>(1, elements_grain / std::max<int64_t>(width, 1)), [&](int64_t begin, int64_t end) {
    RowWriter<T> out(y + begin * width, stream);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t base = r * width, count = r < lanes.rows ? width : lanes.tail;
      out.write_lanes(count, [&f, base](int64_t l, auto n) { return f(base + l, l, n); });
    }
  });
}

}  // namespace weft
