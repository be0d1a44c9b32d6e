// How far a tensor is from what it must be.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tensor/tensor.h"

namespace weft {

/// max |a - b| / (|b| + max |b|), where max |b| counts as `at_least`; infinite where either is not a number.
inline double error_of(const Tensor& a, const Tensor& b, double at_least = 0) {
  REQUIRE(a.defined());
  REQUIRE(a.shape() == b.shape());
  const std::vector<double> x = a.to_doubles(), y = b.to_doubles();
  double largest = at_least, worst = 0;
  for (const double v : y) largest = std::max(largest, std::abs(v));
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == y[i]) continue;
    const double e = std::abs(x[i] - y[i]) / (std::abs(y[i]) + largest);
    worst = std::isnan(e) ? std::numeric_limits<double>::infinity() : std::max(worst, e);
  }
  return worst;
}

}  // namespace weft
