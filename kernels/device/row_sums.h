// What rms_norm and layer_norm share: sums over rows, for the gradients of their parameters.
#pragma once

#include <vector>

#include "kernels/device/parallel.h"
#include "tensor/dispatch.h"

namespace weft {

/// Sums over rows of `width` numbers a row. `start(first)` makes the body of a piece of the rows, which begins at row `first`;
/// body(begin, end, sums), called in order, handles rows [begin, end), at most 32, and adds their numbers to `sums`, which then go
/// on to a total in double. Each piece has its own, so that the result depends only on the number of threads.
template <class A, class Start>
std::vector<double> sum_over_rows(int64_t rows, int64_t width, int64_t cols, Start&& start) {
  const int64_t pieces = std::clamp<int64_t>(rows * cols / elements_grain, 1, std::min<int64_t>(omp_get_max_threads(), std::max<int64_t>(rows, 1)));
  std::vector<double> totals(pieces * width);
  parallel_for(pieces, 1, [&](int64_t first, int64_t last) {
    std::vector<A> sums(width);
    for (int64_t p = first; p < last; ++p) {
      double* total = totals.data() + p * width;
      const int64_t begin = rows * p / pieces, end = rows * (p + 1) / pieces;
      auto body = start(begin);
      for (int64_t block = begin; block < end; block += 32) {
        std::fill(sums.begin(), sums.end(), A{0});
        body(block, std::min(end, block + 32), sums.data());
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) total[c] += sums[c];
      }
    }
  });
  for (int64_t p = 1; p < pieces; ++p) {
    for (int64_t c = 0; c < width; ++c) totals[c] += totals[p * width + c];
  }
  totals.resize(width);
  return totals;
}

}  // namespace weft
