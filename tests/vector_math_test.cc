// The float functions of kernels/device/vector_math.h against glibc in double, over every 1021st float and the special
// values.
#include "kernels/device/vector_math.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <vector>

using namespace weft;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity(), not_a_number = std::numeric_limits<float>::quiet_NaN();

struct Worst {
  double ulp = 0, absolute = 0, relative = 0;
  float at_ulp = 0, at_absolute = 0, at_relative = 0;
};

// The distance of neighbouring floats at y, subnormal ones included.
double ulp_at(double y) {
  const double a = std::max(std::fabs(y), 0x1p-126);
  return std::ldexp(1.0, std::ilogb(a) - 23);
}

// The worst errors of f over floats in [low, high], by stepping through their bits. Results that overflow must be
// infinite.
template <class F, class Truth> Worst sweep(F f, Truth truth, float low, float high) {
  std::vector<float> xs{low, high};
  const auto add = [&](uint32_t first, uint32_t last, uint32_t sign) {
    for (uint64_t u = first; u <= last; u += 1021) xs.push_back(std::bit_cast<float>(static_cast<uint32_t>(u) | sign));
  };
  if (low < 0) add(high < 0 ? std::bit_cast<uint32_t>(-high) : 0, std::bit_cast<uint32_t>(-low), 0x80000000u);
  if (high > 0) add(low > 0 ? std::bit_cast<uint32_t>(low) : 0, std::bit_cast<uint32_t>(high), 0);
  std::vector<float> ys(xs.size());
#pragma omp simd
  for (size_t i = 0; i < xs.size(); ++i) ys[i] = f(xs[i]);
  Worst worst;
  for (size_t i = 0; i < xs.size(); ++i) {
    const double y = truth(static_cast<double>(xs[i]));
    if (std::isinf(static_cast<float>(y))) {
      if (static_cast<double>(ys[i]) != static_cast<double>(static_cast<float>(y)))
        worst.ulp = inf, worst.at_ulp = xs[i];
      continue;
    }
    const double error = std::fabs(ys[i] - y), ulp = error / ulp_at(y), relative = y != 0 ? error / std::fabs(y) : 0;
    if (!(ulp <= worst.ulp)) worst.ulp = ulp, worst.at_ulp = xs[i];
    if (!(error <= worst.absolute)) worst.absolute = error, worst.at_absolute = xs[i];
    if (std::fabs(y) >= 0x1p-126 && !(relative <= worst.relative)) worst.relative = relative, worst.at_relative = xs[i];
  }
  return worst;
}

#define REPORT(w)                                                                                         \
  MESSAGE("ulp " << w.ulp << " at " << w.at_ulp << ", absolute " << w.absolute << " at " << w.at_absolute \
                 << ", relative " << w.relative << " at " << w.at_relative)

}  // namespace

TEST_CASE("exp") {
  const Worst w = sweep([](float x) { return fast_exp(x); }, [](double x) { return std::exp(x); }, -110.0f, 95.0f);
  REPORT(w);
  CHECK(w.ulp <= 1);
  CHECK(fast_exp(0.0f) == 1);
  CHECK(fast_exp(-0.0f) == 1);
  CHECK(fast_exp(inf) == inf);
  CHECK(fast_exp(-inf) == 0);
  CHECK(fast_exp(1e30f) == inf);
  CHECK(fast_exp(-1e30f) == 0);
  CHECK(std::isnan(fast_exp(not_a_number)));
  CHECK(std::isnan(fast_exp(-not_a_number)));
}

TEST_CASE("sigmoid") {
  const Worst w =
      sweep([](float x) { return fast_sigmoid(x); }, [](double x) { return 1 / (1 + std::exp(-x)); }, -87.0f, 110.0f);
  REPORT(w);
  CHECK(w.ulp <= 3);
  CHECK(fast_sigmoid(0.0f) == 0.5f);
  CHECK(fast_sigmoid(inf) == 1);
  CHECK(fast_sigmoid(-inf) == 0);
  CHECK(std::isnan(fast_sigmoid(not_a_number)));
  const Worst low =
      sweep([](float x) { return fast_sigmoid(x); }, [](double x) { return 1 / (1 + std::exp(-x)); }, -110.0f, -87.0f);
  REPORT(low);
  CHECK(low.absolute <= 3e-39);
}

TEST_CASE("tanh") {
  const Worst w = sweep([](float x) { return fast_tanh(x); }, [](double x) { return std::tanh(x); }, -20.0f, 20.0f);
  REPORT(w);
  CHECK(w.ulp <= 3);
  CHECK(fast_tanh(inf) == 1);
  CHECK(fast_tanh(-inf) == -1);
  CHECK(fast_tanh(1e30f) == 1);
  CHECK(fast_tanh(0.0f) == 0);
  CHECK(std::signbit(fast_tanh(-0.0f)));
  CHECK(std::isnan(fast_tanh(not_a_number)));
}

TEST_CASE("log") {
  const Worst w =
      sweep([](float x) { return fast_log(x); }, [](double x) { return std::log(x); }, 0x1p-126f, 0x1.fffffep127f);
  REPORT(w);
  CHECK(w.ulp <= 2);
  const Worst small =
      sweep([](float x) { return fast_log(x); }, [](double x) { return std::log(x); }, 0x1p-149f, 0x1p-126f);
  REPORT(small);
  CHECK(small.ulp <= 2);
  const Worst one = sweep([](float x) { return fast_log(x); }, [](double x) { return std::log(x); }, 0.9999f, 1.0001f);
  REPORT(one);
  CHECK(one.ulp <= 2);
  CHECK(fast_log(1.0f) == 0);
  CHECK(fast_log(0.0f) == -inf);
  CHECK(fast_log(-0.0f) == -inf);
  CHECK(fast_log(inf) == inf);
  CHECK(std::isnan(fast_log(-1.0f)));
  CHECK(std::isnan(fast_log(-inf)));
  CHECK(std::isnan(fast_log(not_a_number)));
}

TEST_CASE("erf") {
  const Worst w = sweep([](float x) { return fast_erf(x); }, [](double x) { return std::erf(x); }, -12.0f, 12.0f);
  REPORT(w);
  CHECK(w.absolute <= 3e-7);
  CHECK(w.relative <= 3e-7);
  CHECK(fast_erf(inf) == 1);
  CHECK(fast_erf(-inf) == -1);
  CHECK(fast_erf(0.0f) == 0);
  CHECK(std::signbit(fast_erf(-0.0f)));
  CHECK(std::isnan(fast_erf(not_a_number)));
}
