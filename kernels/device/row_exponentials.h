// exp(x - top) along a row and its sum, what softmax and cross_entropy are made of.
#pragma once

#include <limits>

#include "kernels/device/parallel.h"
#include "kernels/device/rows.h"
#include "kernels/device/vector_math.h"

namespace weft {

/// fast_exp(x) for x at most 88.
[[gnu::always_inline]] inline RowLanes<float> exp_vector(const RowLanes<float>& x) {
  typedef int32_t Integers __attribute__((vector_size(row_lanes * sizeof(int32_t))));
  const RowLanes<float> bounded = x < -104.0f ? RowLanes<float>{} - 104.0f : x;
  const RowLanes<float> shifted = bounded * 1.44269504f + 0x1.8p23f, n = shifted - 0x1.8p23f;
  const RowLanes<float> p = exp_series<RowLanes<float>>(exp_remainder<RowLanes<float>>(bounded, n));
  const Integers k = (std::bit_cast<Integers>(shifted) << 9) >> 9, half = k >> 1;
  return p * std::bit_cast<RowLanes<float>>((half + 127) << 23) * std::bit_cast<RowLanes<float>>((k - half + 127) << 23);
}

/// exp(x) for x at most 88, as exact as results need that are rounded to T.
template <class T, class A = accumulator_t<T>> [[gnu::always_inline]] inline RowLanes<A> exp_lanes(const RowLanes<A>& x) {
  if constexpr (std::is_same_v<A, float>) {
#ifdef __AVX512F__
    if constexpr (std::is_same_v<T, bf16>) {
      // The fraction of minus infinity is 0, and scalef rounds its second operand down.
      const __m512 t = x * 1.44269504f, fraction = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
      return _mm512_scalef_ps(exp2_fraction_series<__m512>(fraction), t);
    } else {
      constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
      // Minus infinity must not meet itself; the second operand of a maximum is the result for a NaN.
      const __m512 bounded = _mm512_max_ps(_mm512_set1_ps(-104), x), k = _mm512_roundscale_ps(bounded * 1.44269504f, nearest);
      return _mm512_scalef_ps(exp_series(exp_remainder<__m512>(bounded, k)), k);
    }
#endif
  }
  if constexpr (std::is_same_v<A, float>) {
    return exp_vector(x);
  } else {
    RowLanes<A> y;
    for (int64_t l = 0; l < row_lanes; ++l) y[l] = fast_exp(x[l]);
    return y;
  }
}

/// The largest of n elements and of `most`, lane by lane; a NaN counts for nothing.
template <class T, class A = accumulator_t<T>> RowLanes<A> lanes_max(const T* from, int64_t n, RowLanes<A> most) {
  int64_t c = 0;
#ifdef __AVX512BW__
  if constexpr (std::is_same_v<T, bf16>) {
    // Two elements a word: the upper one is a float once the lower one is masked away.
    __m512 lower = most, upper = most;
    // The second operand is the result for a NaN.
    const auto larger = [](const __m512& v, const __m512& than) { return _mm512_maskz_max_ps(0xffff, v, than); };
    for (; c + 2 * row_lanes <= n; c += 2 * row_lanes) {
      const __m512i words = _mm512_loadu_si512(from + c), mask = _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u));
      lower = larger(_mm512_castsi512_ps(_mm512_slli_epi32(words, 16)), lower);
      upper = larger(_mm512_castsi512_ps(_mm512_and_si512(words, mask)), upper);
    }
    most = larger(lower, upper);
  }
#endif
  each_lanes(n - c, [&most, from = from + c](int64_t i, auto count) {
    const RowLanes<A> v = load_lanes(from + i, count, -std::numeric_limits<A>::infinity());
    most = v > most ? v : most;
  });
  return most;
}

/// A row is taken in pieces that stay in the nearest cache between their maximum and their exponentials.
inline constexpr int64_t exponentials_piece = 4096;

/// One row's exponentials: e[c] = exp(x[c] - shifts[c / exponentials_piece]), sum = the sum of exp(x - top), top the row's maximum.
/// Exact enough for results that are rounded to `Result`.
template <class T, class Result = T> struct RowExponentials {
  using A = accumulator_t<T>;
  // Whole lines: vectors that cross them are stored at half the speed.
  struct alignas(64) Line {
    A values[64 / sizeof(A)];
  };
  std::vector<Line> lines;
  A* e;
  std::vector<A> shifts;
  A top = 0, sum = 0;

  explicit RowExponentials(int64_t cols)
      : lines((padded(cols) * sizeof(A) + 63) / 64), e(reinterpret_cast<A*>(lines.data())) {}
  RowExponentials(const RowExponentials&) = delete;
  RowExponentials& operator=(const RowExponentials&) = delete;

  /// One read of x, which may be followed by the next row. Pieces seen under a lower maximum keep it as their shift.
  void read(const T* x, int64_t cols) {
    constexpr A lowest = -std::numeric_limits<A>::infinity();
    shifts.resize((cols + exponentials_piece - 1) / exponentials_piece);
    A highest = lowest, total = 0;
    for (size_t p = 0; p < shifts.size(); ++p) {
      const int64_t begin = p * exponentials_piece, count = std::min(cols - begin, exponentials_piece);
      const T* from = x + begin;
      RowLanes<A> sums{};
      const A higher = lane_max<A>(lanes_max(from, count, RowLanes<A>{} + highest));
      // Where nothing but minus infinity was seen, any finite shift gives exp = 0.
      const A shift = higher == lowest ? A{0} : higher;
      each_lanes(count, [&, to = e + begin](int64_t c, auto n) {
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
