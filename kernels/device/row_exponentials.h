// exp(x - top) along a row and its sum, what softmax and cross_entropy are made of.
#pragma once

// gcc 12's own intrinsics read an undefined vector on purpose.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include <limits>

#include "kernels/device/parallel.h"
#include "kernels/device/rows.h"
#include "kernels/device/vector_math.h"

namespace weft {

/// row[c] = exp(row[c] - shift) for c in [0, n), n a multiple of row_lanes and no element above shift; returns the sum.
template <class A> A exponentials(A* row, int64_t n, A shift) {
  RowLanes<A> sum{};
#ifdef __AVX512F__
  // fast_exp() with its scaling by 2^k as one instruction.
  if constexpr (std::is_same_v<A, float>) {
    for (int64_t c = 0; c < n; c += row_lanes) {
      // The second operand is the result for a NaN.
      const __m512 x = _mm512_max_ps(_mm512_set1_ps(-104), _mm512_loadu_ps(row + c) - shift);
      const __m512 k = _mm512_roundscale_ps(x * 1.44269504f, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
      const __m512 r = (x - k * 0.693359375f) - k * -2.12194440e-4f;
      __m512 p = r * (1.0f / 5040) + 1.0f / 720;
      p = p * r + 1.0f / 120;
      p = p * r + 1.0f / 24;
      p = p * r + 1.0f / 6;
      p = p * r + 0.5f;
      p = p * r + 1.0f;
      p = p * r + 1.0f;
      p = _mm512_scalef_ps(p, k);
      _mm512_storeu_ps(row + c, p);
      sum += p;
    }
    return lane_sum<A>(sum);
  }
#endif
#pragma omp simd
  for (int64_t c = 0; c < n; ++c) row[c] = fast_exp(row[c] - shift);
  for (int64_t c = 0; c < n; c += row_lanes) sum += row_vector(row + c);
  return lane_sum<A>(sum);
}

/// A row is taken in pieces that stay in the nearest cache between their maximum and their exponentials.
inline constexpr int64_t exponentials_piece = 4096;

/// One row's exponentials: e[c] = exp(x[c] - shifts[c / exponentials_piece]), sum = the sum of exp(x - top), top the row's maximum.
template <class A> struct RowExponentials {
  std::vector<A> e, shifts;
  A top = 0, sum = 0;

  explicit RowExponentials(int64_t cols) : e(padded(cols)) {}

  /// One read of x. Pieces seen under a lower maximum keep it as their shift.
  template <class T> void read(const T* x, int64_t cols) {
    constexpr A lowest = -std::numeric_limits<A>::infinity();
    top = lowest;
    sum = 0;
    shifts.clear();
    for (int64_t begin = 0; begin < cols; begin += exponentials_piece) {
      const int64_t count = std::min(cols - begin, exponentials_piece), width = padded(count);
      A* row = e.data() + begin;
      read_row(x + begin, row, count, lowest);
      RowLanes<A> highest = row_vector(row);
      for (int64_t c = row_lanes; c < width; c += row_lanes) {
        const RowLanes<A>& v = row_vector(row + c);
        highest = v > highest ? v : highest;
      }
      A higher = top;
      for (int64_t l = 0; l < row_lanes; ++l) higher = std::max(higher, static_cast<A>(highest[l]));
      // Where nothing but minus infinity was seen, any finite shift gives exp = 0.
      const A shift = higher == lowest ? A{0} : higher;
      if (sum != 0) sum *= fast_exp(top - shift);
      sum += exponentials(row, width, shift);
      top = higher;
      shifts.push_back(shift);
    }
  }

  /// exp(shift - top) of the piece that holds element c: e[c] times this is exp(x[c] - top). A shift above the maximum is that of
  /// a piece of minus infinities, which must stay 0.
  A factor(int64_t c) const {
    const A shift = shifts[c / exponentials_piece];
    return shift > top ? A{0} : std::exp(shift - top);
  }
};

}  // namespace weft
