// Integer arithmetic: add sub mul mad mul24 mad24 sad div rem abs neg min max, and carry chains.
#include "vgpu/arithmetic.h"

#include <limits>
#include <type_traits>

namespace vgpu {
namespace {

template <class T>
using Unsigned = std::make_unsigned_t<T>;

struct Add {
  template <class T>
  static T call(T a, T b) {
    return static_cast<T>(Unsigned<T>(a) + Unsigned<T>(b));
  }
};
struct Sub {
  template <class T>
  static T call(T a, T b) {
    return static_cast<T>(Unsigned<T>(a) - Unsigned<T>(b));
  }
};
struct MulLo {
  template <class T>
  static T call(T a, T b) {
    return static_cast<T>(u64(Unsigned<T>(a)) * u64(Unsigned<T>(b)));
  }
};
struct MulHi {
  template <class T>
  static T call(T a, T b) {
    if constexpr (sizeof(T) == 8) {
      using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
      return static_cast<T>((static_cast<Wide>(a) * b) >> 64);
    } else {
      using Wide = std::conditional_t<std::is_signed_v<T>, i64, u64>;
      return static_cast<T>((static_cast<Wide>(a) * b) >> (8 * sizeof(T)));
    }
  }
};
// Division by zero and overflow are machine specific on a GPU; all ones and the dividend are what it gives.
struct Div {
  template <class T>
  static T call(T a, T b) {
    if (b == 0) return static_cast<T>(-1);
    if constexpr (std::is_signed_v<T>)
      if (b == -1) return Sub::call(T{0}, a);
    return static_cast<T>(a / b);
  }
};
struct Rem {
  template <class T>
  static T call(T a, T b) {
    if (b == 0) return a;
    if constexpr (std::is_signed_v<T>)
      if (b == -1) return 0;
    return static_cast<T>(a % b);
  }
};
struct Min {
  template <class T>
  static T call(T a, T b) {
    return b < a ? b : a;
  }
};
struct Max {
  template <class T>
  static T call(T a, T b) {
    return a < b ? b : a;
  }
};
struct MinRelu {
  template <class T>
  static T call(T a, T b) {
    return std::max<T>(0, Min::call(a, b));
  }
};
struct MaxRelu {
  template <class T>
  static T call(T a, T b) {
    return std::max<T>(0, Max::call(a, b));
  }
};
struct Abs {
  template <class T>
  static T call(T a) {
    return a < 0 ? Sub::call(T{0}, a) : a;
  }
};
struct Neg {
  template <class T>
  static T call(T a) {
    return Sub::call(T{0}, a);
  }
};
struct MadLo {
  template <class T>
  static T call(T a, T b, T c) {
    return Add::call(MulLo::call(a, b), c);
  }
};
struct MadHi {
  template <class T>
  static T call(T a, T b, T c) {
    return Add::call(MulHi::call(a, b), c);
  }
};
struct Sad {
  template <class T>
  static T call(T a, T b, T c) {
    return Add::call(c, a < b ? Sub::call(b, a) : Sub::call(a, b));
  }
};

i32 saturate(i64 v) {
  return static_cast<i32>(
      std::min<i64>(std::max<i64>(v, std::numeric_limits<i32>::min()), std::numeric_limits<i32>::max()));
}
struct AddSat {
  static i32 call(i32 a, i32 b) { return saturate(i64{a} + b); }
};
struct SubSat {
  static i32 call(i32 a, i32 b) { return saturate(i64{a} - b); }
};
struct MadHiSat {
  static i32 call(i32 a, i32 b, i32 c) { return saturate(((i64{a} * b) >> 32) + c); }
};

// Two 16-bit integers in a word.
template <class Op, class T>
struct Packed {
  static u32 call(u32 a, u32 b) {
    const T lo = Op::call(static_cast<T>(a), static_cast<T>(b)),
            hi = Op::call(static_cast<T>(a >> 16), static_cast<T>(b >> 16));
    return static_cast<u16>(lo) | static_cast<u32>(static_cast<u16>(hi)) << 16;
  }
};

template <class Op>
void decode_binary_type(Decoder& d, Type t) {
  d.inst.run = with_integer(d, t, [](auto v) -> Handler { return binary<Op, decltype(v)>; });
  d.expect(3);
  const Type operand = t;
  d.dest(&Inst::d, d.operand(0), type_bytes(operand));
  d.source(&Inst::a, d.operand(1), operand);
  d.source(&Inst::b, d.operand(2), operand);
}

void packed_operands(Decoder& d, Handler run) {
  d.inst.run = run;
  d.expect(3);
  d.dest(&Inst::d, d.operand(0), 4);
  d.source(&Inst::a, d.operand(1), Type::b32);
  d.source(&Inst::b, d.operand(2), Type::b32);
}

// Carry chains: the condition code is a bit a lane in Warp::carry. A difference is a + ~b + 1, so its carry means "no
// borrow": the PTX ISA does not say so, but CUDA's own 128-bit division (sub.cc, then addc) relies on it.
enum CarryUse : u16 { carry_in = 1, carry_out = 2 };

template <class T, bool Subtract>
void add_carry(Warp& w, const Inst& in, u32 m) {
  T* d = w.lanes<T>(in.d);
  const T *a = w.lanes<T>(in.a), *b = w.lanes<T>(in.b);
  u32 out = 0;
  for (int l = 0; l < warp_size; l++) {
    if (!(m >> l & 1)) continue;
    const unsigned __int128 in_bit = in.sub & carry_in ? w.carry >> l & 1 : Subtract;
    const unsigned __int128 r =
        static_cast<unsigned __int128>(a[l]) + (Subtract ? static_cast<T>(~b[l]) : b[l]) + in_bit;
    d[l] = static_cast<T>(r);
    out |= static_cast<u32>(r >> (8 * sizeof(T)) & 1) << l;
  }
  if (in.sub & carry_out) w.carry = (w.carry & ~m) | out;
}

template <class T, bool High, bool Signed>
void mad_carry(Warp& w, const Inst& in, u32 m) {
  T* d = w.lanes<T>(in.d);
  const T *a = w.lanes<T>(in.a), *b = w.lanes<T>(in.b), *c = w.lanes<T>(in.c);
  using S = std::make_signed_t<T>;
  u32 out = 0;
  for (int l = 0; l < warp_size; l++) {
    if (!(m >> l & 1)) continue;
    T product;
    if constexpr (!High) {
      product = static_cast<T>(a[l] * b[l]);
    } else if constexpr (Signed) {
      product = static_cast<T>(MulHi::call(static_cast<S>(a[l]), static_cast<S>(b[l])));
    } else {
      product = MulHi::call(a[l], b[l]);
    }
    const unsigned __int128 r =
        static_cast<unsigned __int128>(product) + c[l] + (in.sub & carry_in ? w.carry >> l & 1 : 0);
    d[l] = static_cast<T>(r);
    out |= static_cast<u32>(r >> (8 * sizeof(T)) & 1) << l;
  }
  if (in.sub & carry_out) w.carry = (w.carry & ~m) | out;
}

void decode_carry(Decoder& d, Type t, bool subtract, u16 use) {
  if (t == Type::s32 || t == Type::u32 || t == Type::b32) {
    d.inst.run = subtract ? add_carry<u32, true> : add_carry<u32, false>;
  } else if (t == Type::s64 || t == Type::u64 || t == Type::b64) {
    d.inst.run = subtract ? add_carry<u64, true> : add_carry<u64, false>;
  } else {
    d.refuse("a carry chain is of 32 or 64 bits");
  }
  d.inst.sub = use;
  d.expect(3);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
  d.source(&Inst::b, d.operand(2), t);
}

void decode_addc(Decoder& d) {
  const u16 use = static_cast<u16>(carry_in | (d.take("cc") ? carry_out : 0));
  decode_carry(d, d.take_type(), d.has_opcode("subc"), use);
}

template <class Wide, class Narrow, bool Add>
void mul_wide(Warp& w, const Inst& in, u32 m) {
  Wide* d = w.lanes<Wide>(in.d);
  const Narrow *a = w.lanes<Narrow>(in.a), *b = w.lanes<Narrow>(in.b);
  const Wide* c = w.lanes<Wide>(in.c);
  using U = Unsigned<Wide>;
  each_lane(m, [&](int l) {
    const U product = static_cast<U>(static_cast<Wide>(a[l])) * static_cast<U>(static_cast<Wide>(b[l]));
    d[l] = static_cast<Wide>(Add ? static_cast<U>(product + static_cast<U>(c[l])) : product);
  });
}

template <bool Add>
Handler pick_wide(Decoder& d, Type t) {
  switch (t) {
    case Type::s16: return mul_wide<i32, i16, Add>;
    case Type::u16: return mul_wide<u32, u16, Add>;
    case Type::s32: return mul_wide<i64, i32, Add>;
    case Type::u32: return mul_wide<u64, u32, Add>;
    default: d.refuse("mul.wide of this type is not supported");
  }
}

// 24-bit products: the low 24 bits of each operand, sign extended where signed.
template <bool Signed, bool High, bool Add>
void mul24(Warp& w, const Inst& in, u32 m) {
  u32* d = w.lanes<u32>(in.d);
  const u32 *a = w.lanes<u32>(in.a), *b = w.lanes<u32>(in.b), *c = w.lanes<u32>(in.c);
  each_lane(m, [&](int l) {
    const i64 x = Signed ? static_cast<i32>(a[l] << 8) >> 8 : static_cast<i64>(a[l] & 0xffffff);
    const i64 y = Signed ? static_cast<i32>(b[l] << 8) >> 8 : static_cast<i64>(b[l] & 0xffffff);
    const u32 product = static_cast<u32>((x * y) >> (High ? 16 : 0));
    d[l] = Add ? product + c[l] : product;
  });
}

void decode_mul24(Decoder& d) {
  const bool high = d.require_one({"lo", "hi"}) == "hi", add = d.has_opcode("mad24");
  const Type t = d.take_type();
  if (t != Type::s32 && t != Type::u32) d.refuse("a 24-bit product is of s32 or u32");
  const bool s = t == Type::s32;
  if (add) {
    d.inst.run = s ? (high ? mul24<true, true, true> : mul24<true, false, true>)
                   : (high ? mul24<false, true, true> : mul24<false, false, true>);
  } else {
    d.inst.run = s ? (high ? mul24<true, true, false> : mul24<true, false, false>)
                   : (high ? mul24<false, true, false> : mul24<false, false, false>);
  }
  d.expect(add ? 4 : 3);
  d.dest(&Inst::d, d.operand(0), 4);
  d.source(&Inst::a, d.operand(1), t);
  d.source(&Inst::b, d.operand(2), t);
  if (add) d.source(&Inst::c, d.operand(3), t);
}

void decode_abs(Decoder& d, Type t) {
  d.inst.run = t == Type::s16   ? unary<Abs, i16>
               : t == Type::s32 ? unary<Abs, i32>
               : t == Type::s64 ? unary<Abs, i64>
                                : nullptr;
  if (!d.inst.run) d.refuse("abs of this type is not supported");
  d.expect(2);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
}

void decode_neg(Decoder& d, Type t) {
  d.inst.run = t == Type::s16   ? unary<Neg, i16>
               : t == Type::s32 ? unary<Neg, i32>
               : t == Type::s64 ? unary<Neg, i64>
                                : nullptr;
  if (!d.inst.run) d.refuse("neg of this type is not supported");
  d.expect(2);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
}

void decode_sad(Decoder& d) {
  const Type t = d.take_type();
  d.inst.run = with_integer(d, t, [](auto v) -> Handler { return ternary<Sad, decltype(v)>; });
  d.expect(4);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
  d.source(&Inst::b, d.operand(2), t);
  d.source(&Inst::c, d.operand(3), t);
}

}  // namespace

// Shared with floats: ops_float.cc asks by type.
void decode_integer_add(Decoder& d, Type t) {
  const bool subtract = d.has_opcode("sub");
  if (d.take("cc")) return decode_carry(d, t, subtract, carry_out);
  if (d.take("sat")) {
    if (t != Type::s32) d.refuse("saturated integer sums are of s32");
    d.inst.run = subtract ? binary<SubSat, i32> : binary<AddSat, i32>;
    d.expect(3);
    d.dest(&Inst::d, d.operand(0), 4);
    d.source(&Inst::a, d.operand(1), t);
    d.source(&Inst::b, d.operand(2), t);
    return;
  }
  subtract ? decode_binary_type<Sub>(d, t) : decode_binary_type<Add>(d, t);
}

void decode_integer_mul(Decoder& d, Type t) {
  const std::string_view part = d.require_one({"lo", "hi", "wide"});
  if (part == "wide") {
    d.inst.run = pick_wide<false>(d, t);
    d.expect(3);
    d.dest(&Inst::d, d.operand(0), 2 * type_bytes(t));
    d.source(&Inst::a, d.operand(1), t);
    d.source(&Inst::b, d.operand(2), t);
    return;
  }
  part == "hi" ? decode_binary_type<MulHi>(d, t) : decode_binary_type<MulLo>(d, t);
}

void decode_integer_mad(Decoder& d, Type t) {
  const std::string_view part = d.require_one({"lo", "hi", "wide"});
  const bool carried = d.has_opcode("madc"), out = d.take("cc");
  d.expect(4);
  if (part == "wide") {
    if (carried || out) d.refuse("mad.wide has no carry");
    d.inst.run = pick_wide<true>(d, t);
    d.dest(&Inst::d, d.operand(0), 2 * type_bytes(t));
    d.source(&Inst::a, d.operand(1), t);
    d.source(&Inst::b, d.operand(2), t);
    const Type sum = t == Type::s16 || t == Type::u16 ? Type::u32 : Type::u64;
    d.source(&Inst::c, d.operand(3), sum);
    return;
  }
  const bool high = part == "hi";
  if (carried || out) {
    d.inst.sub = static_cast<u16>((carried ? carry_in : 0) | (out ? carry_out : 0));
    switch (t) {
      case Type::s32: d.inst.run = high ? mad_carry<u32, true, true> : mad_carry<u32, false, true>; break;
      case Type::u32: d.inst.run = high ? mad_carry<u32, true, false> : mad_carry<u32, false, false>; break;
      case Type::s64: d.inst.run = high ? mad_carry<u64, true, true> : mad_carry<u64, false, true>; break;
      case Type::u64: d.inst.run = high ? mad_carry<u64, true, false> : mad_carry<u64, false, false>; break;
      default: d.refuse("a carry chain is of 32 or 64 bits");
    }
  } else if (d.take("sat")) {
    if (!high || t != Type::s32) d.refuse("mad.sat is of hi.s32");
    d.inst.run = ternary<MadHiSat, i32>;
  } else if (high) {
    d.inst.run = with_integer(d, t, [](auto v) -> Handler { return ternary<MadHi, decltype(v)>; });
  } else {
    d.inst.run = with_integer(d, t, [](auto v) -> Handler { return ternary<MadLo, decltype(v)>; });
  }
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
  d.source(&Inst::b, d.operand(2), t);
  d.source(&Inst::c, d.operand(3), t);
}

void decode_integer_div(Decoder& d, Type t) { decode_binary_type<Div>(d, t); }

void decode_integer_min(Decoder& d, Type t) {
  const bool least = d.has_opcode("min"), relu = d.take("relu");
  if (relu) {
    if (t != Type::s32) d.refuse("relu is of s32 here");
    return least ? decode_binary_type<MinRelu>(d, t) : decode_binary_type<MaxRelu>(d, t);
  }
  least ? decode_binary_type<Min>(d, t) : decode_binary_type<Max>(d, t);
}

// u16x2 and s16x2 are no types of their own elsewhere, so they come as a qualifier.
bool decode_packed_integer(Decoder& d) {
  const std::string_view kind = d.take_one({"u16x2", "s16x2"});
  if (kind.empty()) return false;
  const bool s = kind == "s16x2";
  if (d.has_opcode("add")) {
    packed_operands(d, binary<Packed<Add, u16>, u32>);
  } else if (d.has_opcode("min")) {
    packed_operands(d, s ? binary<Packed<Min, i16>, u32> : binary<Packed<Min, u16>, u32>);
  } else if (d.has_opcode("max")) {
    packed_operands(d, s ? binary<Packed<Max, i16>, u32> : binary<Packed<Max, u16>, u32>);
  } else {
    d.refuse("this packed operation is not supported");
  }
  return true;
}

void decode_integer_abs(Decoder& d, Type t) { decode_abs(d, t); }
void decode_integer_neg(Decoder& d, Type t) { decode_neg(d, t); }

const OpcodeList integer_opcodes = {
    {"addc", decode_addc},
    {"subc", decode_addc},
    {"rem", [](Decoder& d) { decode_binary_type<Rem>(d, d.take_type()); }},
    {"madc", [](Decoder& d) { decode_integer_mad(d, d.take_type()); }},
    {"mul24", decode_mul24},
    {"mad24", decode_mul24},
    {"sad", decode_sad},
};

}  // namespace vgpu
