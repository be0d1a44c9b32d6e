// Approximate instructions: rcp, sqrt, rsqrt, ex2, lg2, sin, cos, tanh .approx. Each is computed far more exactly than
// a GPU does and rounded once; with --perturb the result moves within the error that the PTX ISA states (9.7.3
// and 9.7.4).
#include <cmath>
#include <limits>

#include "vgpu/float.h"

namespace vgpu {
namespace {

// 2^x: x = n + f with |f| <= 1/2, 2^f by its series (ln 2)^k / k!, whose 9th term is below 2e-10.
double exp2_double(float x) {
  const double v = x < -160.f ? -160. : x > 160.f ? 160. : static_cast<double>(x);
  const double n = std::nearbyint(v), f = v - n;
  double p = 1.3215486790144309e-6;
  p = p * f + 1.5252733804059840e-5;
  p = p * f + 1.5403530393381609e-4;
  p = p * f + 1.3333558146428443e-3;
  p = p * f + 9.6181291076284772e-3;
  p = p * f + 5.5504108664821580e-2;
  p = p * f + 2.4022650695910071e-1;
  p = p * f + 6.9314718055994531e-1;
  p = p * f + 1.;
  const i64 exponent = static_cast<i64>(n == n ? n : 0.);
  return p * std::bit_cast<double>(static_cast<u64>(exponent + 1023) << 52);
}

// log2(2^e m), m in [sqrt(1/2), sqrt(2)): 2 / ln 2 times the series of atanh((m - 1) / (m + 1)).
double log2_double(float x) {
  const double v = x;
  const u64 u = std::bit_cast<u64>(v);
  const u64 shifted = u - 0x3fe6a09e667f3bcdull;  // bits of sqrt(1/2)
  const i64 e = static_cast<i64>(shifted) >> 52;
  const double m = std::bit_cast<double>(u - (static_cast<u64>(e) << 52));
  const double s = (m - 1) / (m + 1), t = s * s;
  double p = 1. / 15;
  p = p * t + 1. / 13;
  p = p * t + 1. / 11;
  p = p * t + 1. / 9;
  p = p * t + 1. / 7;
  p = p * t + 1. / 5;
  p = p * t + 1. / 3;
  p = p * t + 1;
  const double r = static_cast<double>(e) + 2.8853900817779268 * s * p;
  const double infinity = std::numeric_limits<double>::infinity();
  return x > 0 ? (x == infinity ? infinity : r) : x == 0 ? -infinity : std::numeric_limits<double>::quiet_NaN();
}

// `relative` and `absolute` are the stated bounds of the error.
struct Rcp {
  static constexpr double relative = 0x1p-23, absolute = 0;
  static double call(float a) { return 1. / a; }
};
struct Sqrt {
  static constexpr double relative = 0x1p-23, absolute = 0;
  static double call(float a) { return std::sqrt(static_cast<double>(a)); }
};
struct Rsqrt {
  static constexpr double relative = 0x1.1p-23, absolute = 0;  // 2^-22.9
  static double call(float a) { return 1. / std::sqrt(static_cast<double>(a)); }
};
struct Ex2 {
  static constexpr double relative = 0x1p-22, absolute = 0;
  static double call(float a) { return exp2_double(a); }
};
struct Lg2 {
  static constexpr double relative = 0, absolute = 0x1p-22;
  static double call(float a) { return log2_double(a); }
};
struct Sin {
  static constexpr double relative = 0, absolute = 0x1p-21;
  static double call(float a) { return std::sin(static_cast<double>(a)); }
};
struct Cos {
  static constexpr double relative = 0, absolute = 0x1p-21;
  static double call(float a) { return std::cos(static_cast<double>(a)); }
};
struct Tanh {
  static constexpr double relative = 0x1p-11, absolute = 0;
  static double call(float a) { return std::tanh(static_cast<double>(a)); }
};

template <class Op, bool Ftz>
struct Approx {
  static float call(float a) {
    const float r = static_cast<float>(Op::call(Ftz ? flush(a) : a));
    return canonical(Ftz ? flush(r) : r);
  }
};

// In [-1, 1], a function of the operands and the seed: as on a GPU, the same operands give the same result.
double noise(const Warp& w, float a, float b = 0) {
  u64 h = w.block->noise_seed ^ bits(a) ^ static_cast<u64>(bits(b)) << 32;
  h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ull;
  h = (h ^ h >> 27) * 0x94d049bb133111ebull;
  return static_cast<double>(static_cast<i64>(h ^ h >> 31)) * 0x1p-63;
}

// Half an ulp of what is allowed goes to the rounding.
float moved(double exact, double relative, double absolute, double noise) {
  if (!std::isfinite(exact) || exact == 0) return static_cast<float>(exact);
  const double slack =
      std::max(relative - 0x1p-24, 0.) * std::fabs(exact) + std::max(absolute - 0x1p-24 * std::fabs(exact), 0.);
  return static_cast<float>(exact + slack * noise);
}

template <class Op, bool Ftz>
void perturbed(Warp& w, const Inst& in, u32 m) {
  float* d = w.lanes<float>(in.d);
  const float* a = w.lanes<float>(in.a);
  each_lane(m, [&](int l) {
    const float x = Ftz ? flush(a[l]) : a[l];
    // The PTX ISA's tables give each instruction's result for 0 exactly: 2^0 is 1.
    const float r = moved(Op::call(x), Op::relative, Op::absolute, x == 0 ? 0 : noise(w, a[l]));
    d[l] = canonical(Ftz ? flush(r) : r);
  });
}

template <bool Ftz>
void perturbed_division(Warp& w, const Inst& in, u32 m) {
  float* d = w.lanes<float>(in.d);
  const float *a = w.lanes<float>(in.a), *b = w.lanes<float>(in.b);
  each_lane(m, [&](int l) {
    const float x = Ftz ? flush(a[l]) : a[l], y = Ftz ? flush(b[l]) : b[l];
    const float r = moved(static_cast<double>(x) / y, 0x1p-22, 0, noise(w, x, y));  // 2 ulp are at least 2^-22
    d[l] = canonical(Ftz ? flush(r) : r);
  });
}

// Halves: ex2 and tanh, one or a pair in a register.
template <class Op, bool Bf>
u16 half_approx(u16 v) {
  const float r = static_cast<float>(Op::call(Bf ? from_bf16(v) : from_f16(v)));
  return Bf ? to_bf16(r) : to_f16(r);
}
template <class Op, bool Bf>
struct HalfOne {
  static u16 call(u16 v) { return half_approx<Op, Bf>(v); }
};
template <class Op, bool Bf>
struct HalfTwo {
  static u32 call(u32 v) {
    return half_approx<Op, Bf>(static_cast<u16>(v)) | static_cast<u32>(half_approx<Op, Bf>(static_cast<u16>(v >> 16)))
                                                          << 16;
  }
};

template <class Op>
void decode_half_approximation(Decoder& d, Type t) {
  const bool ftz = d.take("ftz");
  if ((t == Type::bf16 || t == Type::bf16x2) != ftz && d.has_opcode("ex2"))
    d.refuse("ex2 of bf16 has ftz, of f16 has not");
  switch (t) {
    case Type::f16: d.inst.run = unary<HalfOne<Op, false>, u16>; break;
    case Type::bf16: d.inst.run = unary<HalfOne<Op, true>, u16>; break;
    case Type::f16x2:
      d.inst.run = unary<HalfTwo<Op, false>, u32>;
      d.inst.flops = 2;
      break;
    default:
      d.inst.run = unary<HalfTwo<Op, true>, u32>;
      d.inst.flops = 2;
      break;
  }
}

template <class Op>
void decode_single(Decoder& d) {
  const bool ftz = d.take("ftz");
  if (d.perturb()) {
    d.inst.run = ftz ? perturbed<Op, true> : perturbed<Op, false>;
  } else {
    d.inst.run = ftz ? unary<Approx<Op, true>, float> : unary<Approx<Op, false>, float>;
  }
}

// rcp and rsqrt .approx.ftz.f64: the upper words of operand and result, the lower ones zero.
template <bool Root>
struct Gross {
  static double call(double v) {
    const double a = std::bit_cast<double>(std::bit_cast<u64>(v) & 0xffffffff00000000ull);
    const double x = std::fabs(a) < std::numeric_limits<double>::min() ? std::copysign(0., a) : a;
    const double r = Root ? 1 / std::sqrt(x) : 1 / x;
    const double y = std::fabs(r) < std::numeric_limits<double>::min() ? std::copysign(0., r) : r;
    return y != y ? y : std::bit_cast<double>(std::bit_cast<u64>(y) & 0xffffffff00000000ull);
  }
};

void decode_double(Decoder& d, Approximation op) {
  const bool ftz = d.take("ftz");
  if (op == Approximation::rsqrt) {
    d.inst.run = unary<Gross<true>, double>;
  } else if (op == Approximation::rcp && ftz) {
    d.inst.run = unary<Gross<false>, double>;
  } else {
    d.refuse("this approximation of f64 is not supported");
  }
}

}  // namespace

void decode_approximate(Decoder& d, Approximation op) {
  d.inst.flop_class = FlopClass::mufu;
  d.inst.flops = 1;
  if (!d.take("approx")) d.refuse("approx is expected");
  decode_approximation(d, op);
}

void decode_approximation(Decoder& d, Approximation op) {
  const Type t = d.take_type();
  if (t == Type::f64) {
    decode_double(d, op);
  } else if (t == Type::f32) {
    switch (op) {
      case Approximation::rcp: decode_single<Rcp>(d); break;
      case Approximation::sqrt: decode_single<Sqrt>(d); break;
      case Approximation::rsqrt: decode_single<Rsqrt>(d); break;
      case Approximation::ex2: decode_single<Ex2>(d); break;
      case Approximation::lg2: decode_single<Lg2>(d); break;
      case Approximation::sin: decode_single<Sin>(d); break;
      case Approximation::cos: decode_single<Cos>(d); break;
      case Approximation::tanh: decode_single<Tanh>(d); break;
    }
  } else if (is_float(t) && t != Type::tf32 && op == Approximation::ex2) {
    decode_half_approximation<Ex2>(d, t);
  } else if (is_float(t) && t != Type::tf32 && op == Approximation::tanh) {
    decode_half_approximation<Tanh>(d, t);
  } else {
    d.refuse("an approximation of this type is not supported");
  }
  d.expect(2);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
}

void decode_perturbed_division(Decoder& d) {
  d.inst.run = d.take("ftz") ? perturbed_division<true> : perturbed_division<false>;
  d.expect(3);
  d.dest(&Inst::d, d.operand(0), 4);
  d.source(&Inst::a, d.operand(1), Type::f32);
  d.source(&Inst::b, d.operand(2), Type::f32);
}

}  // namespace vgpu
