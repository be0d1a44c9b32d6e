// Arithmetic of f16, bf16 and pairs of them. Everything is computed in double, where it is exact or rounded to odd, and
// rounded once.
#include <cmath>

#include "vgpu/float.h"

namespace vgpu {
namespace {

enum HalfFlags : u16 { half_ftz = 1, half_sat = 2, half_relu = 4, half_nan = 8, half_xorsign = 16 };

struct F16 {
  static float widen(u16 v) { return from_f16(v); }
  static u16 narrow(double v) { return to_f16(to_f32_odd(v)); }
  static u16 flush(u16 v) { return (v & 0x7c00) == 0 ? v & 0x8000 : v; }
};
struct Bf16 {
  static float widen(u16 v) { return from_bf16(v); }
  static u16 narrow(double v) { return to_bf16(to_f32_odd(v)); }
  static u16 flush(u16 v) { return (v & 0x7f80) == 0 ? v & 0x8000 : v; }
};

constexpr u16 half_nan_bits = 0x7fff;

template <class Format>
u16 pick_extreme(u16 x, u16 y, bool least, u16 flags) {
  u16 a = x, b = y;
  if (flags & half_xorsign) a &= 0x7fff, b &= 0x7fff;
  const float fa = Format::widen(a), fb = Format::widen(b);
  u16 r;
  if (fa != fa || fb != fb) {
    const bool both = fa != fa && fb != fb;
    r = both || flags & half_nan ? half_nan_bits : fa != fa ? b : a;
    if (r == half_nan_bits) return r;
  } else if (fa == fb) {
    r = least == ((a & 0x8000) != 0) ? a : b;  // -0 below +0
  } else {
    r = (fa < fb) == least ? a : b;
  }
  if (flags & half_xorsign) r = static_cast<u16>(r | ((x ^ y) & 0x8000));
  return r;
}

template <class Format, HalfOp Op>
u16 half_op(u16 a, u16 b, u16 c, u16 flags) {
  if constexpr (Op == HalfOp::neg) return static_cast<u16>(a ^ 0x8000);
  if constexpr (Op == HalfOp::abs) return static_cast<u16>(a & 0x7fff);
  if (flags & half_ftz) a = Format::flush(a), b = Format::flush(b), c = Format::flush(c);
  if constexpr (Op == HalfOp::min) return pick_extreme<Format>(a, b, true, flags);
  if constexpr (Op == HalfOp::max) return pick_extreme<Format>(a, b, false, flags);
  const double x = Format::widen(a), y = Format::widen(b), z = Format::widen(c);
  double r = 0;
  if constexpr (Op == HalfOp::add) r = fma_odd(x, 1, y);
  if constexpr (Op == HalfOp::sub) r = fma_odd(x, 1, -y);
  if constexpr (Op == HalfOp::mul) r = x * y;
  if constexpr (Op == HalfOp::fma) r = fma_odd(x, y, z);
  if (flags & half_sat) r = r > 0 ? (r < 1 ? r : 1) : 0;
  if (flags & half_relu) r = r != r ? r : r > 0 ? r : 0;
  u16 h = Format::narrow(r);
  if (flags & half_ftz) h = Format::flush(h);
  return h;
}

template <class Format, HalfOp Op>
void half_lanes(Warp& w, const Inst& in, u32 m) {
  u16* d = w.lanes<u16>(in.d);
  const u16 *a = w.lanes<u16>(in.a), *b = w.lanes<u16>(in.b), *c = w.lanes<u16>(in.c);
  each_lane(m, [&](int l) { d[l] = half_op<Format, Op>(a[l], b[l], c[l], in.sub); });
}

template <class Format, HalfOp Op>
void half_pairs(Warp& w, const Inst& in, u32 m) {
  u32* d = w.lanes<u32>(in.d);
  const u32 *a = w.lanes<u32>(in.a), *b = w.lanes<u32>(in.b), *c = w.lanes<u32>(in.c);
  each_lane(m, [&](int l) {
    const u32 lo = half_op<Format, Op>(static_cast<u16>(a[l]), static_cast<u16>(b[l]), static_cast<u16>(c[l]), in.sub);
    const u32 hi = half_op<Format, Op>(static_cast<u16>(a[l] >> 16), static_cast<u16>(b[l] >> 16),
                                       static_cast<u16>(c[l] >> 16), in.sub);
    d[l] = lo | hi << 16;
  });
}

template <HalfOp Op>
Handler pick_half(Type t) {
  switch (t) {
    case Type::f16: return half_lanes<F16, Op>;
    case Type::bf16: return half_lanes<Bf16, Op>;
    case Type::f16x2: return half_pairs<F16, Op>;
    default: return half_pairs<Bf16, Op>;
  }
}

}  // namespace

void decode_half(Decoder& d, Type t, HalfOp op) {
  const bool arithmetic = op <= HalfOp::fma, extreme = op == HalfOp::min || op == HalfOp::max;
  if (arithmetic) d.take("rn");
  u16 flags = 0;
  if (d.take("ftz")) flags |= half_ftz;
  if (arithmetic && d.take("sat")) flags |= half_sat;
  if (op == HalfOp::fma && d.take("relu")) flags |= half_relu;
  if (extreme && d.take("NaN")) flags |= half_nan;
  if (extreme && d.take("xorsign")) {
    if (!d.take("abs")) d.refuse("xorsign needs abs");
    flags |= half_xorsign;
  }
  d.inst.sub = flags;
  switch (op) {
    case HalfOp::add: d.inst.run = pick_half<HalfOp::add>(t); break;
    case HalfOp::sub: d.inst.run = pick_half<HalfOp::sub>(t); break;
    case HalfOp::mul: d.inst.run = pick_half<HalfOp::mul>(t); break;
    case HalfOp::fma: d.inst.run = pick_half<HalfOp::fma>(t); break;
    case HalfOp::min: d.inst.run = pick_half<HalfOp::min>(t); break;
    case HalfOp::max: d.inst.run = pick_half<HalfOp::max>(t); break;
    case HalfOp::neg: d.inst.run = pick_half<HalfOp::neg>(t); break;
    case HalfOp::abs: d.inst.run = pick_half<HalfOp::abs>(t); break;
  }
  const size_t sources = op == HalfOp::fma ? 3 : op == HalfOp::neg || op == HalfOp::abs ? 1 : 2;
  if ((op == HalfOp::neg || op == HalfOp::abs) && flags) d.refuse("ftz of this instruction is not supported");
  d.expect(sources + 1);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
  d.source(sources > 1 ? &Inst::b : &Inst::a, d.operand(sources > 1 ? 2 : 1), t);
  if (sources > 2) d.source(&Inst::c, d.operand(3), t);
}

}  // namespace vgpu
