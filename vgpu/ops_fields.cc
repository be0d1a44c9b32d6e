// Counts and fields of bits, and dot products of bytes: popc clz bfind brev bfe bfi dp4a dp2a.
#include <algorithm>
#include <bit>
#include <type_traits>

#include "vgpu/decoder.h"

namespace vgpu {
namespace {

template <class T>
using Unsigned = std::make_unsigned_t<T>;

// Results of one word from an operand of 4 or 8 bytes.
template <class Op, class T>
void to_word(Warp& w, const Inst& in, u32 m) {
  u32* d = w.lanes<u32>(in.d);
  const T* a = w.lanes<T>(in.a);
  each_lane(m, [&](int l) { d[l] = static_cast<u32>(Op::call(a[l])); });
}
struct Popc {
  template <class T>
  static int call(T a) {
    return std::popcount(a);
  }
};
struct Clz {
  template <class T>
  static int call(T a) {
    return std::countl_zero(a);
  }
};
template <bool Shift>
struct Bfind {
  template <class T>
  static u32 call(T a) {
    using U = Unsigned<T>;
    const U v = std::is_signed_v<T> && a < 0 ? static_cast<U>(~a) : static_cast<U>(a);
    if (v == 0) return ~0u;
    const int zeros = std::countl_zero(v);
    return static_cast<u32>(Shift ? zeros : static_cast<int>(8 * sizeof(T)) - 1 - zeros);
  }
};

template <class Op>
void decode_count(Decoder& d) {
  const Type t = d.take_type();
  d.inst.run = t == Type::b32 ? to_word<Op, u32> : t == Type::b64 ? to_word<Op, u64> : nullptr;
  if (!d.inst.run) d.refuse("this instruction is of b32 or b64");
  d.expect(2);
  d.dest(&Inst::d, d.operand(0), 4);
  d.source(&Inst::a, d.operand(1), t);
}

void decode_bfind(Decoder& d) {
  const bool shift = d.take("shiftamt");
  const Type t = d.take_type();
  switch (t) {
    case Type::s32: d.inst.run = shift ? to_word<Bfind<true>, i32> : to_word<Bfind<false>, i32>; break;
    case Type::u32: d.inst.run = shift ? to_word<Bfind<true>, u32> : to_word<Bfind<false>, u32>; break;
    case Type::s64: d.inst.run = shift ? to_word<Bfind<true>, i64> : to_word<Bfind<false>, i64>; break;
    case Type::u64: d.inst.run = shift ? to_word<Bfind<true>, u64> : to_word<Bfind<false>, u64>; break;
    default: d.refuse("bfind of this type is not supported");
  }
  d.expect(2);
  d.dest(&Inst::d, d.operand(0), 4);
  d.source(&Inst::a, d.operand(1), t);
}

struct Brev {
  template <class T>
  static T call(T v) {
    T r = 0;
    for (unsigned i = 0; i < 8 * sizeof(T); i++) r |= static_cast<T>((v >> i & 1) << (8 * sizeof(T) - 1 - i));
    return r;
  }
};
void decode_brev(Decoder& d) {
  const Type t = d.take_type();
  d.inst.run = t == Type::b32 ? unary<Brev, u32> : t == Type::b64 ? unary<Brev, u64> : nullptr;
  if (!d.inst.run) d.refuse("brev is of b32 or b64");
  d.expect(2);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
}

// bfe: `len` bits of a from `pos`; bits past the top are copies of the field's sign, which is the top bit of a if the
// field ends past it.
template <class T>
void bfe(Warp& w, const Inst& in, u32 m) {
  T* d = w.lanes<T>(in.d);
  const T* a = w.lanes<T>(in.a);
  const u32 *b = w.lanes<u32>(in.b), *c = w.lanes<u32>(in.c);
  constexpr u32 bits = 8 * sizeof(T);
  each_lane(m, [&](int l) {
    const u32 pos = b[l] & 255, len = c[l] & 255;
    if (len == 0) {
      d[l] = 0;
      return;
    }
    const bool negative = std::is_signed_v<T> && (a[l] >> std::min(pos + len - 1, bits - 1) & 1);
    Unsigned<T> field = pos < bits ? static_cast<Unsigned<T>>(static_cast<Unsigned<T>>(a[l]) >> pos) : Unsigned<T>{0};
    const u32 kept = pos < bits ? std::min(len, bits - pos) : 0;
    if (kept < bits) {
      const Unsigned<T> above = static_cast<Unsigned<T>>(~Unsigned<T>{0} << kept);
      field = negative ? static_cast<Unsigned<T>>(field | above) : static_cast<Unsigned<T>>(field & ~above);
    }
    d[l] = static_cast<T>(field);
  });
}

void decode_bfe(Decoder& d) {
  const Type t = d.take_type();
  switch (t) {
    case Type::s32: d.inst.run = bfe<i32>; break;
    case Type::u32: d.inst.run = bfe<u32>; break;
    case Type::s64: d.inst.run = bfe<i64>; break;
    case Type::u64: d.inst.run = bfe<u64>; break;
    default: d.refuse("bfe of this type is not supported");
  }
  d.expect(4);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
  d.source(&Inst::b, d.operand(2), Type::u32);
  d.source(&Inst::c, d.operand(3), Type::u32);
}

// bfi: `len` low bits of a go into b at `pos`.
template <class T>
void bfi(Warp& w, const Inst& in, u32 m) {
  T* d = w.lanes<T>(in.d);
  const T *a = w.lanes<T>(in.a), *b = w.lanes<T>(in.b);
  const u32 *c = w.lanes<u32>(in.c), *e = w.lanes<u32>(in.e);
  constexpr u32 bits = 8 * sizeof(T);
  each_lane(m, [&](int l) {
    const u32 pos = c[l] & 255, len = e[l] & 255;
    if (pos >= bits || len == 0) {
      d[l] = b[l];
      return;
    }
    const T field = len >= bits ? ~T{0} : static_cast<T>((T{1} << len) - 1);
    d[l] = (b[l] & ~(field << pos)) | ((a[l] & field) << pos);
  });
}

void decode_bfi(Decoder& d) {
  const Type t = d.take_type();
  d.inst.run = t == Type::b32 ? bfi<u32> : t == Type::b64 ? bfi<u64> : nullptr;
  if (!d.inst.run) d.refuse("bfi is of b32 or b64");
  d.expect(5);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
  d.source(&Inst::b, d.operand(2), t);
  d.source(&Inst::c, d.operand(3), Type::u32);
  d.source(&Inst::e, d.operand(4), Type::u32);
}

// Sum of products of four bytes (dp4a), or of two half words with two bytes of b (dp2a; sub bit 2 takes the upper two).
enum DotBits : u16 { a_signed = 1, b_signed = 2, upper = 4 };
template <bool Four>
void dot(Warp& w, const Inst& in, u32 m) {
  u32* d = w.lanes<u32>(in.d);
  const u32 *a = w.lanes<u32>(in.a), *b = w.lanes<u32>(in.b), *c = w.lanes<u32>(in.c);
  constexpr int n = Four ? 4 : 2, a_bits = Four ? 8 : 16;
  each_lane(m, [&](int l) {
    u32 sum = c[l];
    for (int i = 0; i < n; i++) {
      const u32 x = a[l] >> (a_bits * i), y = b[l] >> (8 * (i + (!Four && in.sub & upper ? 2 : 0)));
      const i32 xv = in.sub & a_signed ? (Four ? i32{static_cast<i8>(x)} : i32{static_cast<i16>(x)})
                                       : static_cast<i32>(x & (Four ? 0xff : 0xffff));
      const i32 yv = in.sub & b_signed ? i32{static_cast<i8>(y)} : static_cast<i32>(y & 0xff);
      sum += static_cast<u32>(xv * yv);
    }
    d[l] = sum;
  });
}

void decode_dot(Decoder& d) {
  const bool four = d.has_opcode("dp4a");
  d.inst.run = four ? dot<true> : dot<false>;
  if (!four) d.inst.sub = d.require_one({"lo", "hi"}) == "hi" ? upper : 0;
  const Type ta = d.take_type(), tb = d.take_type();
  if ((ta != Type::s32 && ta != Type::u32) || (tb != Type::s32 && tb != Type::u32))
    d.refuse("dot products are of s32 or u32");
  d.inst.sub |= static_cast<u16>((ta == Type::s32 ? a_signed : 0) | (tb == Type::s32 ? b_signed : 0));
  d.expect(4);
  d.dest(&Inst::d, d.operand(0), 4);
  d.source(&Inst::a, d.operand(1), Type::b32);
  d.source(&Inst::b, d.operand(2), Type::b32);
  d.source(&Inst::c, d.operand(3), Type::b32);
}

}  // namespace

const OpcodeList field_opcodes = {
    {"popc", decode_count<Popc>}, {"clz", decode_count<Clz>}, {"bfind", decode_bfind}, {"brev", decode_brev},
    {"bfe", decode_bfe},          {"bfi", decode_bfi},        {"dp4a", decode_dot},    {"dp2a", decode_dot},
};

}  // namespace vgpu
