// Arithmetic of f32 and f64 that rounds as IEEE says: add sub mul fma mad div rcp sqrt neg abs min max copysign testp.
// The opcodes that integers share begin here; halves are in ops_half.cc, approximations in ops_approx.cc.
#include "vgpu/float.h"

#include <cfenv>
#include <cmath>
#include <limits>

#include "vgpu/arithmetic.h"
#include "vgpu/half.h"

namespace vgpu {
namespace {

struct Add {
  template <class T>
  static T call(T a, T b) {
    return a + b;
  }
};
struct Sub {
  template <class T>
  static T call(T a, T b) {
    return a - b;
  }
};
struct Mul {
  template <class T>
  static T call(T a, T b) {
    return a * b;
  }
};
struct Div {
  template <class T>
  static T call(T a, T b) {
    return a / b;
  }
};
struct Fma {
  static float call(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  static double call(double a, double b, double c) { return __builtin_fma(a, b, c); }
};
struct Rcp {
  template <class T>
  static T call(T a) {
    return T{1} / a;
  }
};
struct Sqrt {
  template <class T>
  static T call(T a) {
    return std::sqrt(a);
  }
};

// A NaN loses to a number; -0 is below +0. Two NaNs give the canonical one.
template <class T>
T least(T a, T b) {
  const T low = a < b || (a == b && std::signbit(a)) ? a : b;
  return a != a ? b : b != b ? a : low;
}
template <class T>
T greatest(T a, T b) {
  const T high = a > b || (a == b && !std::signbit(a)) ? a : b;
  return a != a ? b : b != b ? a : high;
}
struct Min {
  template <class T>
  static T call(T a, T b) {
    return least(a, b);
  }
};
struct Max {
  template <class T>
  static T call(T a, T b) {
    return greatest(a, b);
  }
};
struct MinNan {
  template <class T>
  static T call(T a, T b) {
    return a != a || b != b ? a + b : least(a, b);
  }
};
struct MaxNan {
  template <class T>
  static T call(T a, T b) {
    return a != a || b != b ? a + b : greatest(a, b);
  }
};
// xorsign.abs: the smaller or larger magnitude with the product's sign.
template <class Op>
struct XorSign {
  template <class T>
  static T call(T a, T b) {
    const T r = Op::call(std::fabs(a), std::fabs(b));
    return std::signbit(a) != std::signbit(b) ? -r : r;
  }
};

template <class Op>
struct OfThree {
  static float call(float a, float b, float c) { return Op::call(Op::call(a, b), c); }
};

// f32: NaN results are 0x7fffffff. ftz reads and writes subnormals as zero; sat limits to [0, 1] and turns NaN into 0.
template <class Op, bool Ftz, bool Sat>
struct Single {
  static float in(float v) { return Ftz ? flush(v) : v; }
  static float out(float v) {
    if constexpr (Sat) return saturate(v);
    return canonical(Ftz ? flush(v) : v);
  }
  static float call(float a) { return out(Op::call(in(a))); }
  static float call(float a, float b) { return out(Op::call(in(a), in(b))); }
  static float call(float a, float b, float c) { return out(Op::call(in(a), in(b), in(c))); }
};

// Runs a handler with the processor's rounding direction set to in.sub.
template <Handler H>
void in_direction(Warp& w, const Inst& in, u32 m) {
  std::fesetround(in.sub);
  asm volatile("" ::: "memory");  // the handler's loads and stores keep its arithmetic between these two
  H(w, in, m);
  asm volatile("" ::: "memory");
  std::fesetround(FE_TONEAREST);
}

enum Arity { one = 1, two = 2, three = 3 };
template <class Op, class T, Arity N>
void lanewise(Warp& w, const Inst& in, u32 m) {
  if constexpr (N == one) unary<Op, T>(w, in, m);
  if constexpr (N == two) binary<Op, T>(w, in, m);
  if constexpr (N == three) ternary<Op, T>(w, in, m);
}

template <class Op, class T, Arity N>
Handler with_direction(const Inst& in) {
  return in.sub == FE_TONEAREST ? Handler{lanewise<Op, T, N>} : Handler{in_direction<lanewise<Op, T, N>>};
}

int take_direction(Decoder& d) {
  const std::string_view r = d.take_one({"rn", "rz", "rm", "rp"});
  return r == "rz" ? FE_TOWARDZERO : r == "rm" ? FE_DOWNWARD : r == "rp" ? FE_UPWARD : FE_TONEAREST;
}

void operands(Decoder& d, Type t, size_t sources) {
  d.expect(sources + 1);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
  if (sources > 1) d.source(&Inst::b, d.operand(2), t);
  if (sources > 2) d.source(&Inst::c, d.operand(3), t);
}

// Rounding, ftz and sat from the qualifiers; the operation for f32 or f64.
template <class Op, Arity N>
void decode_rounded(Decoder& d, Type t) {
  d.inst.sub = static_cast<u16>(take_direction(d));
  const bool ftz = d.take("ftz"), sat = d.take("sat");
  if (t == Type::f64) {
    if (ftz || sat) d.refuse("f64 has neither ftz nor sat");
    d.inst.run = with_direction<Op, double, N>(d.inst);
  } else if (t == Type::f32) {
    d.inst.run = ftz ? (sat ? with_direction<Single<Op, true, true>, float, N>(d.inst)
                            : with_direction<Single<Op, true, false>, float, N>(d.inst))
                     : (sat ? with_direction<Single<Op, false, true>, float, N>(d.inst)
                            : with_direction<Single<Op, false, false>, float, N>(d.inst));
  } else {
    d.refuse("type ." + std::string(type_name(t)) + " is not supported here");
  }
  operands(d, t, N);
}

void flops(Decoder& d, u32 n) {
  d.inst.flop_class = FlopClass::fma;
  d.inst.flops = n;
}

bool is_half(Type t) { return t == Type::f16 || t == Type::bf16 || t == Type::f16x2 || t == Type::bf16x2; }

template <class FloatOp>
void decode_sum(Decoder& d) {
  if (decode_packed_integer(d)) return;
  const Type t = d.take_type();
  if (is_integer(t)) return decode_integer_add(d, t);
  flops(d, t == Type::f16x2 || t == Type::bf16x2 ? 2 : 1);
  if (is_half(t)) return decode_half(d, t, d.has_opcode("add") ? HalfOp::add : HalfOp::sub);
  decode_rounded<FloatOp, two>(d, t);
}

void decode_mul(Decoder& d) {
  const Type t = d.take_type();
  if (is_integer(t)) return decode_integer_mul(d, t);
  flops(d, t == Type::f16x2 || t == Type::bf16x2 ? 2 : 1);
  if (is_half(t)) return decode_half(d, t, HalfOp::mul);
  decode_rounded<Mul, two>(d, t);
}

void decode_fma(Decoder& d) {
  const Type t = d.take_type();
  if (is_integer(t)) return decode_integer_mad(d, t);
  flops(d, t == Type::f16x2 || t == Type::bf16x2 ? 4 : 2);
  if (is_half(t)) return decode_half(d, t, HalfOp::fma);
  decode_rounded<Fma, three>(d, t);
}

void decode_div(Decoder& d) {
  const Type t = d.take_type();
  if (is_integer(t)) return decode_integer_div(d, t);
  flops(d, 1);
  // Approximate and full-range division may be off by 2 ulp; the rounded quotient is one of the allowed results.
  if (d.take("approx") || d.take("full")) {
    if (t != Type::f32) d.refuse("approximate division is of f32");
    if (d.perturb()) return decode_perturbed_division(d);
  }
  decode_rounded<Div, two>(d, t);
}

template <class Op>
void decode_rcp_sqrt(Decoder& d, Approximation approximation) {
  d.inst.flop_class = FlopClass::mufu;
  d.inst.flops = 1;
  if (d.take("approx")) return decode_approximation(d, approximation);
  decode_rounded<Op, one>(d, d.take_type());
}

template <class Plain, class Nan>
void decode_min_max(Decoder& d) {
  if (decode_packed_integer(d)) return;
  const Type t = d.take_type();
  if (is_integer(t)) return decode_integer_min(d, t);
  flops(d, t == Type::f16x2 || t == Type::bf16x2 ? 2 : 1);
  if (is_half(t)) return decode_half(d, t, d.has_opcode("min") ? HalfOp::min : HalfOp::max);
  const bool nan = d.take("NaN"), xorsign = d.take("xorsign"), ftz = d.take("ftz");
  if (xorsign && !d.take("abs")) d.refuse("xorsign needs abs");
  if (d.size() == 4) {  // of sm_100 on
    if (t != Type::f32 || xorsign) d.refuse("three operands are of f32 without xorsign");
    d.inst.run = nan ? (ftz ? ternary<Single<OfThree<Nan>, true, false>, float>
                            : ternary<Single<OfThree<Nan>, false, false>, float>)
                     : (ftz ? ternary<Single<OfThree<Plain>, true, false>, float>
                            : ternary<Single<OfThree<Plain>, false, false>, float>);
    flops(d, 2);
    return operands(d, t, 3);
  }
  if (t == Type::f64) {
    if (nan || xorsign || ftz) d.refuse("f64 min and max have no qualifiers");
    d.inst.run = binary<Plain, double>;
  } else if (t == Type::f32) {
    const auto pick = [&]<class Op>(Op) {
      return ftz ? Handler{binary<Single<Op, true, false>, float>} : Handler{binary<Single<Op, false, false>, float>};
    };
    d.inst.run =
        nan ? (xorsign ? pick(XorSign<Nan>{}) : pick(Nan{})) : (xorsign ? pick(XorSign<Plain>{}) : pick(Plain{}));
  } else {
    d.refuse("type ." + std::string(type_name(t)) + " is not supported here");
  }
  operands(d, t, 2);
}

// neg and abs only touch the sign bit.
template <class T, bool Negate>
void sign(Warp& w, const Inst& in, u32 m) {
  T* d = w.lanes<T>(in.d);
  const T* a = w.lanes<T>(in.a);
  constexpr T top = T{1} << (8 * sizeof(T) - 1);
  each_lane(m, [&](int l) { d[l] = Negate ? a[l] ^ top : a[l] & ~top; });
}
template <bool Negate>
void sign_ftz(Warp& w, const Inst& in, u32 m) {
  float* d = w.lanes<float>(in.d);
  const float* a = w.lanes<float>(in.a);
  each_lane(m, [&](int l) { d[l] = flush(Negate ? -a[l] : std::fabs(a[l])); });
}

template <bool Negate>
void decode_sign(Decoder& d) {
  const Type t = d.take_type();
  if (is_integer(t)) return Negate ? decode_integer_neg(d, t) : decode_integer_abs(d, t);
  if (is_half(t)) return decode_half(d, t, Negate ? HalfOp::neg : HalfOp::abs);
  const bool ftz = d.take("ftz");
  if (t == Type::f64 && ftz) d.refuse("f64 has no ftz");
  d.inst.run = t == Type::f64 ? Handler{sign<u64, Negate>}
               : ftz          ? Handler{sign_ftz<Negate>}
                              : Handler{sign<u32, Negate>};
  operands(d, t, 1);
}

// The sign of a, the magnitude of b.
template <class T>
void copysign(Warp& w, const Inst& in, u32 m) {
  T* d = w.lanes<T>(in.d);
  const T *a = w.lanes<T>(in.a), *b = w.lanes<T>(in.b);
  constexpr T top = T{1} << (8 * sizeof(T) - 1);
  each_lane(m, [&](int l) { d[l] = (a[l] & top) | (b[l] & ~top); });
}

void decode_copysign(Decoder& d) {
  const Type t = d.take_type();
  d.inst.run = t == Type::f32 ? copysign<u32> : t == Type::f64 ? copysign<u64> : nullptr;
  if (!d.inst.run) d.refuse("copysign is of f32 or f64");
  operands(d, t, 2);
}

enum class Test : u16 { finite, infinite, number, notanumber, normal, subnormal };
template <class T>
void testp(Warp& w, const Inst& in, u32 m) {
  const T* a = w.lanes<T>(in.a);
  u32 r = 0;
  for (int l = 0; l < warp_size; l++) {
    if (!(m >> l & 1)) continue;
    const int kind = std::fpclassify(a[l]);
    bool hit = false;
    switch (static_cast<Test>(in.sub)) {
      case Test::finite: hit = kind != FP_NAN && kind != FP_INFINITE; break;
      case Test::infinite: hit = kind == FP_INFINITE; break;
      case Test::number: hit = kind != FP_NAN; break;
      case Test::notanumber: hit = kind == FP_NAN; break;
      case Test::normal: hit = kind == FP_NORMAL || kind == FP_ZERO; break;  // PTX: zero counts as normal
      case Test::subnormal: hit = kind == FP_SUBNORMAL; break;
    }
    r |= static_cast<u32>(hit) << l;
  }
  set_predicate(w, in.d, m, r);
}

void decode_testp(Decoder& d) {
  const std::string_view names[] = {"finite", "infinite", "number", "notanumber", "normal", "subnormal"};
  const std::string_view name = d.require_one({"finite", "infinite", "number", "notanumber", "normal", "subnormal"});
  for (u16 i = 0; i < 6; i++)
    if (names[i] == name) d.inst.sub = i;
  const Type t = d.take_type();
  d.inst.run = t == Type::f32 ? testp<float> : t == Type::f64 ? testp<double> : nullptr;
  if (!d.inst.run) d.refuse("testp is of f32 or f64");
  d.expect(2);
  d.dest_predicate(&Inst::d, d.operand(0));
  d.source(&Inst::a, d.operand(1), t);
}

}  // namespace

const OpcodeList float_opcodes = {
    {"add", decode_sum<Add>},
    {"sub", decode_sum<Sub>},
    {"mul", decode_mul},
    {"fma", decode_fma},
    {"mad", decode_fma},
    {"div", decode_div},
    {"rcp", [](Decoder& d) { decode_rcp_sqrt<Rcp>(d, Approximation::rcp); }},
    {"sqrt", [](Decoder& d) { decode_rcp_sqrt<Sqrt>(d, Approximation::sqrt); }},
    {"rsqrt", [](Decoder& d) { decode_approximate(d, Approximation::rsqrt); }},
    {"ex2", [](Decoder& d) { decode_approximate(d, Approximation::ex2); }},
    {"lg2", [](Decoder& d) { decode_approximate(d, Approximation::lg2); }},
    {"sin", [](Decoder& d) { decode_approximate(d, Approximation::sin); }},
    {"cos", [](Decoder& d) { decode_approximate(d, Approximation::cos); }},
    {"tanh", [](Decoder& d) { decode_approximate(d, Approximation::tanh); }},
    {"min", decode_min_max<Min, MinNan>},
    {"max", decode_min_max<Max, MaxNan>},
    {"neg", decode_sign<true>},
    {"abs", decode_sign<false>},
    {"copysign", decode_copysign},
    {"testp", decode_testp},
};

}  // namespace vgpu
