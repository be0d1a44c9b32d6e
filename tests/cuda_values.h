// What the tests of the cuda device share: values to begin with, and how far two results are apart.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tensor/philox.h"
#include "tensor/tensor.h"

namespace weft {

/// f32 values in [-1, 1) on the cpu, the same for the same seed.
inline Tensor random_tensor(const Shape& shape, uint64_t seed) {
  Tensor t = Tensor::empty(shape);
  const PhiloxStream stream{seed, 0};
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = 2 * stream.uniform(i) - 1;
  return t;
}

/// The largest |a - b| / (|b| + max |b|). NaN if any element of one of them alone is NaN, which no tolerance lets pass.
inline double difference(const Tensor& a, const Tensor& b) {
  const auto x = a.to_doubles(), y = b.to_doubles();
  REQUIRE(x.size() == y.size());
  double worst = 0, top = 0;
  for (double v : y) top = std::max(top, std::fabs(v));
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == y[i]) continue;
    const double d = std::fabs(x[i] - y[i]) / (std::fabs(y[i]) + top);
    if (std::isnan(d)) return d;
    worst = std::max(worst, d);
  }
  return worst;
}

}  // namespace weft
