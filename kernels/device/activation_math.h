// The activations as scalar functions, for the elementwise room and for ops that fuse one. A is float or double.
// `value(x)` is y; `slope` is dy/dx, from x or, where that is cheaper and exact enough, from y (`from_result`).
#pragma once

#include "kernels/device/vector_math.h"

namespace weft {

struct ReluMath {
  static constexpr bool from_result = true;
  template <class A> static A value(A x) { return x < 0 ? A{0} : x; }  // NaN stays NaN
  template <class A> static A slope(A y) { return y <= 0 ? A{0} : A{1}; }
};

/// Phi(x), the standard normal distribution function, and exp(-x^2 / 2), which it shares its work with.
template <class A> struct Normal {
  A below, bell;
};
inline Normal<double> normal(double x) {
  return {0.5 * (1 + fast_erf(x * 0.70710678118654752)), fast_exp(-0.5 * x * x)};
}
/// Error 7.5e-8 and that of the exponential (Abramowitz and Stegun 26.2.17).
inline Normal<float> normal(float x) {
  const float bell = fast_exp(-0.5f * x * x), t = 1.0f / (1.0f + 0.2316419f * std::fabs(x));
  const float q = 0.12741480f + t * (-0.14224837f + t * (0.71070687f + t * (-0.72657601f + t * 0.53070271f)));
  const float tail = t * q * bell;
  return {x < 0.0f ? tail : 1.0f - tail, bell};
}

/// x Phi(x).
struct GeluMath {
  static constexpr bool from_result = false;
  template <class A> static A value(A x) { return x * normal(x).below; }
  template <class A> static A slope(A x) {
    const Normal<A> n = normal(x);
    return n.below + x * (A(0.39894228040143268) * n.bell);
  }
};

/// 0.5 x (1 + tanh(u)) = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3): the approximation that T5 v1.1 is trained
/// with.
struct GeluTanhMath {
  static constexpr bool from_result = false;
  static constexpr double a = 1.5957691216057308, b = a * 0.044715;  // 2 u = a x + b x^3
  template <class A> static A value(A x) { return x * fast_sigmoid(x * (A(a) + A(b) * x * x)); }
  template <class A> static A slope(A x) {
    const A x2 = x * x, s = fast_sigmoid(x * (A(a) + A(b) * x2));
    return s + x * s * (1 - s) * (A(a) + 3 * A(b) * x2);
  }
};

struct SiluMath {
  static constexpr bool from_result = false;
  template <class A> static A value(A x) { return x * fast_sigmoid(x); }
  template <class A> static A slope(A x) {
    const A s = fast_sigmoid(x);
    return s + x * s * (1 - s);
  }
};

struct SigmoidMath {
  static constexpr bool from_result = true;
  template <class A> static A value(A x) { return fast_sigmoid(x); }
  template <class A> static A slope(A y) { return y * (1 - y); }
};

struct TanhMath {
  static constexpr bool from_result = true;
  template <class A> static A value(A x) { return fast_tanh(x); }
  template <class A> static A slope(A y) { return 1 - y * y; }
};

struct ExpMath {
  static constexpr bool from_result = true;
  template <class A> static A value(A x) { return fast_exp(x); }
  template <class A> static A slope(A y) { return y; }
};

struct LogMath {
  static constexpr bool from_result = false;
  template <class A> static A value(A x) { return fast_log(x); }
  template <class A> static A slope(A x) { return 1 / x; }
};

struct SinMath {
  static constexpr bool from_result = false;
  template <class A> static A value(A x) { return std::sin(x); }
  template <class A> static A slope(A x) { return std::cos(x); }
};

struct CosMath {
  static constexpr bool from_result = false;
  template <class A> static A value(A x) { return std::cos(x); }
  template <class A> static A slope(A x) { return -std::sin(x); }
};

}  // namespace weft
