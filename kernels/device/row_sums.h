// What rms_norm and layer_norm share: sums along a row, and sums over rows for the gradients of their parameters.
#pragma once

#include <vector>

#include "kernels/device/parallel.h"
#include "tensor/dispatch.h"

namespace weft {

/// The sum of f(0) .. f(n - 1), in a fixed order.
template <class A, class F> A row_sum(int64_t n, F&& f) {
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += f(i);
  return sum;
}

/// Sums over rows of `width` numbers a row. `body(r, sums)` handles row r and adds its numbers to `sums`; every 32 rows these go on to
/// a total in double, and each piece of the rows has its own, so that the result depends only on the number of threads. `finish()` is called at the end of every thread's share.
template <class A, class Body, class Finish>
std::vector<double> sum_over_rows(int64_t rows, int64_t width, int64_t cols, Body&& body, Finish&& finish) {
  const int64_t pieces = std::clamp<int64_t>(rows * cols / elements_grain, 1, std::min<int64_t>(omp_get_max_threads(), std::max<int64_t>(rows, 1)));
  std::vector<double> totals(pieces * width);
  parallel_for(pieces, 1, [&](int64_t first, int64_t last) {
    std::vector<A> sums(width);
    for (int64_t p = first; p < last; ++p) {
      double* total = totals.data() + p * width;
      const int64_t end = rows * (p + 1) / pieces;
      for (int64_t block = rows * p / pieces; block < end; block += 32) {
        std::fill(sums.begin(), sums.end(), A{0});
        for (int64_t r = block; r < std::min(end, block + 32); ++r) body(r, sums.data());
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) total[c] += sums[c];
      }
    }
    finish();
  });
  for (int64_t p = 1; p < pieces; ++p) {
    for (int64_t c = 0; c < width; ++c) totals[c] += totals[p * width + c];
  }
  totals.resize(width);
  return totals;
}

}  // namespace weft
