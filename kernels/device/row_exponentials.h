// exp(x - top) along a row and its sum, what softmax and cross_entropy are made of.
#pragma once

#include <limits>

#include "kernels/device/parallel.h"
#include "kernels/device/rows.h"
#include "kernels/device/vector_math.h"

namespace weft {

/// exp(x) for x at most 88, as exact as results need that are rounded to T.
template <class T, class A = accumulator_t<T>> [[gnu::always_inline]] inline RowLanes<A> exp_lanes(const RowLanes<A>& x) {
  if constexpr (std::is_same_v<A, float>) {
#ifdef __AVX512F__
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    // Minus infinity must not meet itself; the second operand of a maximum is the result for a NaN.
    if constexpr (std::is_same_v<T, bf16>) {
      const __m512 t = _mm512_max_ps(_mm512_set1_ps(-150), x * 1.44269504f), k = _mm512_roundscale_ps(t, nearest);
      return _mm512_scalef_ps(exp2_short_series<__m512>(t - k), k);
    } else {
      const __m512 bounded = _mm512_max_ps(_mm512_set1_ps(-104), x), k = _mm512_roundscale_ps(bounded * 1.44269504f, nearest);
      return _mm512_scalef_ps(exp_series(exp_remainder<__m512>(bounded, k)), k);
    }
#endif
  }
  RowLanes<A> y;
  for (int64_t l = 0; l < row_lanes; ++l) y[l] = fast_exp(x[l]);
  return y;
}

/// A row is taken in pieces that stay in the nearest cache between their maximum and their exponentials.
inline constexpr int64_t exponentials_piece = 4096;

/// One row's exponentials: e[c] = exp(x[c] - shifts[c / exponentials_piece]), sum = the sum of exp(x - top), top the row's maximum.
/// Exact enough for results that are rounded to `Result`.
template <class T, class Result = T> struct RowExponentials {
  using A = accumulator_t<T>;
  std::vector<A> e, shifts;
  A top = 0, sum = 0;

  explicit RowExponentials(int64_t cols) : e(padded(cols)) {}

  /// One read of x, which may be followed by the next row. Pieces seen under a lower maximum keep it as their shift.
  void read(const T* x, int64_t cols) {
    constexpr A lowest = -std::numeric_limits<A>::infinity();
    shifts.resize((cols + exponentials_piece - 1) / exponentials_piece);
    A highest = lowest, total = 0;
    for (size_t p = 0; p < shifts.size(); ++p) {
      const int64_t begin = p * exponentials_piece, count = std::min(cols - begin, exponentials_piece);
      const T* from = x + begin;
      RowLanes<A> most = RowLanes<A>{} + highest, sums{};
      each_lanes(count, [&](int64_t c, auto n) {
        const RowLanes<A> v = load_lanes(from + c, n, lowest);
        most = v > most ? v : most;
      });
      const A higher = lane_max<A>(most);
      // Where nothing but minus infinity was seen, any finite shift gives exp = 0.
      const A shift = higher == lowest ? A{0} : higher;
      each_lanes(count, [&, to = e.data() + begin](int64_t c, auto n) {
        prefetch(from + count + c);  // the next piece, or row
        const RowLanes<A> v = exp_lanes<Result>(load_lanes(from + c, n, lowest) - shift);
        row_vector(to + c) = v;
        sums += v;
      });
      if (total != 0) total *= fast_exp(highest - shift);
      total += lane_sum<A>(sums);
      highest = higher;
      shifts[p] = shift;
    }
    top = highest;
    sum = total;
  }

  /// exp(shift - top) of the piece that holds element c: e[c] times this is exp(x[c] - top). A shift above the maximum is that of
  /// a piece of minus infinities, which must stay 0.
  A factor(int64_t c) const {
    const A shift = shifts[c / exponentials_piece];
    return shift > top ? A{0} : shift == top ? A{1} : std::exp(shift - top);
  }
};

}  // namespace weft
