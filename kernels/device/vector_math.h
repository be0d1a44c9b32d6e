// Exponentials and their kin for the CPU loops. The float versions are branch-free polynomials that gcc vectorises; their error is
// stated and tested against glibc in double (tests/vector_math_test.cc). The double versions are glibc's: they are the truth.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace weft {

inline double fast_exp(double x) { return std::exp(x); }
inline double fast_log(double x) { return std::log(x); }
inline double fast_tanh(double x) { return std::tanh(x); }
inline double fast_erf(double x) { return std::erf(x); }
inline double fast_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// What every exponential here is made of; V is float or a vector of floats. x = n ln 2 + r with n the integer nearest to
/// x / ln 2 and ln 2 in two parts (Cody and Waite): returns r.
template <class V> V exp_remainder(V x, V n) {
  return (x - n * 0.693359375f) - n * -2.12194440e-4f;
}

/// exp(r) for |r| <= ln 2 / 2, relative error 4e-9 before rounding: the best polynomial with 1 + r as its beginning.
template <class V> V exp_series(V r) {
  V p = r * 1.38146105e-3f + 8.36871115e-3f;
  p = p * r + 4.16683875e-2f;
  p = p * r + 0.166665207f;
  p = p * r + 0.499999935f;
  p = p * r + 1.0f;
  return p * r + 1.0f;
}

/// 2^f for |f| <= 1/2, relative error 3e-6: for results that are rounded to bf16 (4e-3).
template <class V> V exp2_short_series(V f) {
  V p = f * 9.58277714e-3f + 5.590721326e-2f;
  p = p * f + 0.240241045f;
  p = p * f + 0.693124105f;
  return p * f + 1.0f;
}

/// 2^f for 0 <= f <= 1, relative error 3e-6, exact at 0: the same for where the integer part is rounded down.
template <class V> V exp2_fraction_series(V f) {
  V p = f * 1.34266846e-2f + 5.22424735e-2f;
  p = p * f + 0.241280205f;
  p = p * f + 0.693044845f;
  return p * f + 1.0f;
}

/// exp(x) within 1 unit in the last place; 0 below -104, infinity above 88.8, NaN stays NaN.
inline float fast_exp(float x) {
  const float bounded = x < -104.0f ? -104.0f : (x > 89.0f ? 89.0f : x);
  const float shifted = bounded * 1.44269504f + 0x1.8p23f;  // rounds to an integer in the low bits
  const float n = shifted - 0x1.8p23f;
  const float p = exp_series(exp_remainder(bounded, n));
  // The integer is in the low bits of `shifted`; for a NaN it is arbitrary, and p carries the NaN. 2^n is applied in two halves, so
  // that subnormal results work.
  const int32_t k = (std::bit_cast<int32_t>(shifted) << 9) >> 9, half = k >> 1;
  const float a = std::bit_cast<float>(static_cast<uint32_t>(half + 127) << 23);
  const float b = std::bit_cast<float>(static_cast<uint32_t>(k - half + 127) << 23);
  return p * a * b;
}

/// 1 / (1 + exp(-x)) within 3 units in the last place; below -87, where it nears the subnormal numbers, within 3e-39.
inline float fast_sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }

/// tanh(x) within 3 units in the last place.
inline float fast_tanh(float x) {
  // The odd Taylor series where the quotient would cancel.
  const float a = std::fabs(x), x2 = x * x;
  float series = -1382.0f / 155925;
  series = series * x2 + 62.0f / 2835;
  series = series * x2 + -17.0f / 315;
  series = series * x2 + 2.0f / 15;
  series = series * x2 + -1.0f / 3;
  series = series * x2 + 1.0f;
  const float e = fast_exp(-2.0f * a);
  const float quotient = std::copysign((1.0f - e) / (1.0f + e), x);
  return a < 0.3f ? x * series : quotient;
}

/// log(x) within 2 units in the last place; log(0) = -infinity, NaN below 0.
inline float fast_log(float x) {
  const bool subnormal = x < 0x1p-126f;
  const uint32_t bits = std::bit_cast<uint32_t>(subnormal ? x * 0x1p23f : x);
  // x = m 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m - 1) / (m + 1)).
  const int32_t shift = static_cast<int32_t>(bits - 0x3f3504f3u) >> 23;
  const float m = std::bit_cast<float>(bits - (static_cast<uint32_t>(shift) << 23));
  const float e = static_cast<float>(shift - (subnormal ? 23 : 0));
  const float s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
  const float tail = s2 * (2.0f / 3 + s2 * (2.0f / 5 + s2 * (2.0f / 7 + s2 * (2.0f / 9 + s2 * (2.0f / 11)))));
  const float y = e * 0.693359375f + (2.0f * s + (s * tail + e * -2.12194440e-4f));
  const float inf = std::bit_cast<float>(0x7f800000u), nan = std::bit_cast<float>(0x7fc00000u);
  return x > 0.0f ? (x == inf ? inf : y) : (x == 0.0f ? -inf : nan);
}

/// erf(x), absolute and relative error below 3e-7.
inline float fast_erf(float x) {
  // The Taylor series below 0.75; above it 1 - q(t) exp(-x^2), t = 1 / (1 + 0.3275911 |x|) (Abramowitz and Stegun 7.1.26, error 1.5e-7).
  const float a = std::fabs(x), x2 = x * x;
  float series = -1.0f / 75600;
  series = series * x2 + 1.0f / 9360;
  series = series * x2 + -1.0f / 1320;
  series = series * x2 + 1.0f / 216;
  series = series * x2 + -1.0f / 42;
  series = series * x2 + 0.1f;
  series = series * x2 + -1.0f / 3;
  series = series * x2 + 1.0f;
  const float t = 1.0f / (1.0f + 0.3275911f * a);
  const float q = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  const float tail = std::copysign(1.0f - q * fast_exp(-x2), x);
  return a < 0.75f ? 1.12837917f * x * series : tail;
}

}  // namespace weft
