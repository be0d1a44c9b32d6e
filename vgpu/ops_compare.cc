// setp, set, selp, slct.
#include <cmath>

#include "vgpu/float.h"

namespace vgpu {
namespace {

enum class Compare : u16 { eq, ne, lt, le, gt, ge, equ, neu, ltu, leu, gtu, geu, num, nan };
enum Combine : u16 { combine_none = 0, combine_and = 1, combine_or = 2, combine_xor = 3 };
constexpr u16 compare_ftz = 1 << 8;

constexpr std::string_view compare_names[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",  "equ",
                                              "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};

template <Compare C, class T>
bool holds(T a, T b) {
  const bool unordered = a != a || b != b;
  switch (C) {
    case Compare::eq: return a == b;
    case Compare::ne: return a != b && !unordered;
    case Compare::lt: return a < b;
    case Compare::le: return a <= b;
    case Compare::gt: return a > b;
    case Compare::ge: return a >= b;
    case Compare::equ: return a == b || unordered;
    case Compare::neu: return a != b;
    case Compare::ltu: return !(a >= b);
    case Compare::leu: return !(a > b);
    case Compare::gtu: return !(a <= b);
    case Compare::geu: return !(a < b);
    case Compare::num: return !unordered;
    case Compare::nan: return unordered;
  }
  return false;
}

template <Compare C, class T>
u32 compare_bits(const Warp& w, const Inst& in) {
  const T *a = w.lanes<T>(in.a), *b = w.lanes<T>(in.b);
  alignas(64) u32 flags[warp_size];
  for (int l = 0; l < warp_size; l++) {
    T x = a[l], y = b[l];
    if constexpr (std::is_same_v<T, float>)
      if (in.sub & compare_ftz) x = flush(x), y = flush(y);
    flags[l] = holds<C>(x, y) ? u32{1} << l : 0;
  }
  u32 r = 0;
  for (int l = 0; l < warp_size; l++) r |= flags[l];
  return r;
}

template <Compare C, bool Bf>
u32 compare_half_bits(const Warp& w, const Inst& in) {
  const u16 *a = w.lanes<u16>(in.a), *b = w.lanes<u16>(in.b);
  u32 r = 0;
  for (int l = 0; l < warp_size; l++) {
    const float x = Bf ? from_bf16(a[l]) : from_f16(a[l]), y = Bf ? from_bf16(b[l]) : from_f16(b[l]);
    r |= holds<C>(x, y) ? u32{1} << l : 0;
  }
  return r;
}

u32 combine(const Warp& w, const Inst& in, u32 r, bool invert) {
  if (invert) r = ~r;
  switch (in.sub & 3) {
    case combine_and: return r & predicate(w, in.e);
    case combine_or: return r | predicate(w, in.e);
    case combine_xor: return r ^ predicate(w, in.e);
    default: return r;
  }
}

constexpr u32 no_predicate = ~0u;

template <u32 (*Bits)(const Warp&, const Inst&)>
void setp(Warp& w, const Inst& in, u32 m) {
  const u32 r = Bits(w, in);
  const u32 first = combine(w, in, r, false), second = in.c == no_predicate ? 0 : combine(w, in, r, true);
  if (in.d != no_predicate) set_predicate(w, in.d, m, first);
  if (in.c != no_predicate) set_predicate(w, in.c, m, second);
}

// set: all ones or 1.0 instead of a predicate.
template <u32 (*Bits)(const Warp&, const Inst&), bool Float>
void set(Warp& w, const Inst& in, u32 m) {
  const u32 r = combine(w, in, Bits(w, in), false);
  u32* d = w.lanes<u32>(in.d);
  each_lane(m, [&](int l) { d[l] = r >> l & 1 ? (Float ? 0x3f800000u : ~0u) : 0; });
}

// f16x2 and bf16x2 compare both halves: setp gives a predicate each, set a mask or 1.0 each.
template <Compare C, bool Bf>
void setp_pair(Warp& w, const Inst& in, u32 m) {
  const u32 *a = w.lanes<u32>(in.a), *b = w.lanes<u32>(in.b);
  u32 lo = 0, hi = 0;
  const auto value = [](u32 v) { return Bf ? from_bf16(static_cast<u16>(v)) : from_f16(static_cast<u16>(v)); };
  for (int l = 0; l < warp_size; l++) {
    lo |= static_cast<u32>(holds<C>(value(a[l]), value(b[l]))) << l;
    hi |= static_cast<u32>(holds<C>(value(a[l] >> 16), value(b[l] >> 16))) << l;
  }
  if (in.d != no_predicate) set_predicate(w, in.d, m, combine(w, in, lo, false));
  if (in.c != no_predicate) set_predicate(w, in.c, m, combine(w, in, hi, false));
}

template <Compare C, bool Bf, bool Float>
void set_pair(Warp& w, const Inst& in, u32 m) {
  u32* d = w.lanes<u32>(in.d);
  const u32 *a = w.lanes<u32>(in.a), *b = w.lanes<u32>(in.b);
  const auto value = [](u32 v) { return Bf ? from_bf16(static_cast<u16>(v)) : from_f16(static_cast<u16>(v)); };
  constexpr u32 yes = !Float ? 0xffff : Bf ? 0x3f80 : 0x3c00;
  each_lane(m, [&](int l) {
    const u32 lo = holds<C>(value(a[l]), value(b[l])) ? yes : 0,
              hi = holds<C>(value(a[l] >> 16), value(b[l] >> 16)) ? yes : 0;
    d[l] = lo | hi << 16;
  });
}

enum class Result { predicate, mask, one };

template <u32 (*Bits)(const Warp&, const Inst&)>
Handler pick_result(Result r) {
  return r == Result::predicate ? Handler{setp<Bits>}
         : r == Result::mask    ? Handler{set<Bits, false>}
                                : Handler{set<Bits, true>};
}

template <Compare C, bool Bf>
Handler pick_pair(Result r) {
  return r == Result::predicate ? Handler{setp_pair<C, Bf>}
         : r == Result::mask    ? Handler{set_pair<C, Bf, false>}
                                : Handler{set_pair<C, Bf, true>};
}

template <Compare C>
Handler pick_type(Decoder& d, Type t, Result r) {
  switch (t) {
    case Type::f32: return pick_result<compare_bits<C, float>>(r);
    case Type::f64: return pick_result<compare_bits<C, double>>(r);
    case Type::f16: return pick_result<compare_half_bits<C, false>>(r);
    case Type::bf16: return pick_result<compare_half_bits<C, true>>(r);
    case Type::f16x2: return pick_pair<C, false>(r);
    case Type::bf16x2: return pick_pair<C, true>(r);
    default: break;
  }
  if constexpr (C <= Compare::ge)
    return with_integer(d, t, [&]<class T>(T) -> Handler { return pick_result<compare_bits<C, T>>(r); });
  d.refuse("this comparison is of floats");
}

Handler pick_compare(Decoder& d, Compare c, Type t, Result r) {
  switch (c) {
    case Compare::eq: return pick_type<Compare::eq>(d, t, r);
    case Compare::ne: return pick_type<Compare::ne>(d, t, r);
    case Compare::lt: return pick_type<Compare::lt>(d, t, r);
    case Compare::le: return pick_type<Compare::le>(d, t, r);
    case Compare::gt: return pick_type<Compare::gt>(d, t, r);
    case Compare::ge: return pick_type<Compare::ge>(d, t, r);
    case Compare::equ: return pick_type<Compare::equ>(d, t, r);
    case Compare::neu: return pick_type<Compare::neu>(d, t, r);
    case Compare::ltu: return pick_type<Compare::ltu>(d, t, r);
    case Compare::leu: return pick_type<Compare::leu>(d, t, r);
    case Compare::gtu: return pick_type<Compare::gtu>(d, t, r);
    case Compare::geu: return pick_type<Compare::geu>(d, t, r);
    case Compare::num: return pick_type<Compare::num>(d, t, r);
    case Compare::nan: return pick_type<Compare::nan>(d, t, r);
  }
  return nullptr;
}

// lo, ls, hi, hs are the unsigned names of lt, le, gt, ge.
Compare take_compare(Decoder& d) {
  for (u16 i = 0; i < 14; i++)
    if (d.take(compare_names[i])) return static_cast<Compare>(i);
  const std::string_view u = d.require_one({"lo", "ls", "hi", "hs"});
  return u == "lo" ? Compare::lt : u == "ls" ? Compare::le : u == "hi" ? Compare::gt : Compare::ge;
}

u16 take_combine(Decoder& d) {
  const std::string_view c = d.take_one({"and", "or", "xor"});
  return c == "and" ? combine_and : c == "or" ? combine_or : c == "xor" ? combine_xor : combine_none;
}

void sources(Decoder& d, Type t) {
  const bool combined = d.inst.sub & 3;
  d.expect(combined ? 4 : 3);
  d.source(&Inst::a, d.operand(1), t);
  d.source(&Inst::b, d.operand(2), t);
  if (combined) d.source_predicate(&Inst::e, d.operand(3));
}

void decode_setp(Decoder& d) {
  const Compare c = take_compare(d);
  d.inst.sub = take_combine(d);
  if (d.take("ftz")) d.inst.sub |= compare_ftz;
  const Type t = d.take_type();
  if (d.inst.sub & compare_ftz && t != Type::f32) d.refuse("ftz is of f32");
  d.inst.run = pick_compare(d, c, t, Result::predicate);
  sources(d, t);
  const auto predicate_or_sink = [&](u32 Inst::*field, const Operand& o) {
    d.inst.*field = no_predicate;
    if (o.kind != Operand::Kind::sink) d.dest_predicate(field, o);
  };
  d.inst.c = no_predicate;
  if (d.operand(0).kind == Operand::Kind::pair) {
    predicate_or_sink(&Inst::d, d.operand(0).items[0]);
    predicate_or_sink(&Inst::c, d.operand(0).items[1]);
  } else {
    predicate_or_sink(&Inst::d, d.operand(0));
  }
}

void decode_set(Decoder& d) {
  const Compare c = take_compare(d);
  d.inst.sub = take_combine(d);
  if (d.take("ftz")) d.inst.sub |= compare_ftz;
  const Type to = d.take_type(), t = d.take_type();
  if (d.inst.sub & compare_ftz && t != Type::f32) d.refuse("ftz is of f32");
  const bool pair = t == Type::f16x2 || t == Type::bf16x2;
  if (pair ? to != t && to != Type::u32 && to != Type::s32 : to != Type::u32 && to != Type::s32 && to != Type::f32)
    d.refuse("the result of set is u32, s32 or f32");
  d.inst.run = pick_compare(d, c, t, to == Type::f32 || (pair && to == t) ? Result::one : Result::mask);
  sources(d, t);
  d.dest(&Inst::d, d.operand(0), 4);
}

template <class T>
void selp(Warp& w, const Inst& in, u32 m) {
  T* d = w.lanes<T>(in.d);
  const T *a = w.lanes<T>(in.a), *b = w.lanes<T>(in.b);
  const u32 p = predicate(w, in.e);
  each_lane(m, [&](int l) { d[l] = p >> l & 1 ? a[l] : b[l]; });
}

void decode_selp(Decoder& d) {
  const Type t = d.take_type();
  switch (type_bytes(t)) {
    case 2: d.inst.run = selp<u16>; break;
    case 4: d.inst.run = selp<u32>; break;
    case 8: d.inst.run = selp<u64>; break;
    default: d.refuse("selp of this type is not supported");
  }
  d.expect(4);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
  d.source(&Inst::b, d.operand(2), t);
  d.source_predicate(&Inst::e, d.operand(3));
}

template <class T, class C>
void slct(Warp& w, const Inst& in, u32 m) {
  T* d = w.lanes<T>(in.d);
  const T *a = w.lanes<T>(in.a), *b = w.lanes<T>(in.b);
  const C* c = w.lanes<C>(in.c);
  each_lane(m, [&](int l) { d[l] = c[l] >= 0 ? a[l] : b[l]; });
}

void decode_slct(Decoder& d) {
  const Type t = d.take_type(), c = d.take_type();
  if (c != Type::s32 && c != Type::f32) d.refuse("slct selects by s32 or f32");
  const bool f = c == Type::f32;
  switch (type_bytes(t)) {
    case 2: d.inst.run = f ? slct<u16, float> : slct<u16, i32>; break;
    case 4: d.inst.run = f ? slct<u32, float> : slct<u32, i32>; break;
    case 8: d.inst.run = f ? slct<u64, float> : slct<u64, i32>; break;
    default: d.refuse("slct of this type is not supported");
  }
  d.expect(4);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
  d.source(&Inst::b, d.operand(2), t);
  d.source(&Inst::c, d.operand(3), c);
}

}  // namespace

const OpcodeList compare_opcodes = {
    {"setp", decode_setp}, {"set", decode_set}, {"selp", decode_selp}, {"slct", decode_slct}};

}  // namespace vgpu
