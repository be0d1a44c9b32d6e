// Bits: and or xor not cnot lop3 shl shr shf prmt bmsk szext, and, or, xor, not of predicates.
#include "vgpu/decoder.h"

#include <type_traits>

namespace vgpu {
namespace {

struct And {
  template <class T>
  static T call(T a, T b) {
    return a & b;
  }
};
struct Or {
  template <class T>
  static T call(T a, T b) {
    return a | b;
  }
};
struct Xor {
  template <class T>
  static T call(T a, T b) {
    return a ^ b;
  }
};
struct Not {
  template <class T>
  static T call(T a) {
    return static_cast<T>(~a);
  }
};
struct Cnot {
  template <class T>
  static T call(T a) {
    return a == 0;
  }
};

template <class Op>
void predicate_binary(Warp& w, const Inst& in, u32 m) {
  set_predicate(w, in.d, m, Op::call(predicate(w, in.a), predicate(w, in.b)));
}

Handler unsigned_handler(Type t, Handler h16, Handler h32, Handler h64) {
  switch (t) {
    case Type::b16: return h16;
    case Type::b32: return h32;
    case Type::b64: return h64;
    default: return nullptr;
  }
}

template <class Op>
void decode_logic(Decoder& d) {
  const Type t = d.take_type();
  d.expect(3);
  if (t == Type::pred) {
    d.inst.run = predicate_binary<Op>;
    d.dest_predicate(&Inst::d, d.operand(0));
    d.source_predicate(&Inst::a, d.operand(1));
    d.source_predicate(&Inst::b, d.operand(2));
    return;
  }
  d.inst.run = unsigned_handler(t, binary<Op, u16>, binary<Op, u32>, binary<Op, u64>);
  if (!d.inst.run) d.refuse("logic is of pred, b16, b32 or b64");
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
  d.source(&Inst::b, d.operand(2), t);
}

void predicate_not(Warp& w, const Inst& in, u32 m) { set_predicate(w, in.d, m, ~predicate(w, in.a)); }

void decode_not(Decoder& d) {
  const Type t = d.take_type();
  d.expect(2);
  if (t == Type::pred) {
    d.inst.run = predicate_not;
    d.dest_predicate(&Inst::d, d.operand(0));
    d.source_predicate(&Inst::a, d.operand(1));
    return;
  }
  d.inst.run = unsigned_handler(t, unary<Not, u16>, unary<Not, u32>, unary<Not, u64>);
  if (!d.inst.run) d.refuse("not is of pred, b16, b32 or b64");
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
}

void decode_cnot(Decoder& d) {
  const Type t = d.take_type();
  d.inst.run = unsigned_handler(t, unary<Cnot, u16>, unary<Cnot, u32>, unary<Cnot, u64>);
  if (!d.inst.run) d.refuse("cnot is of b16, b32 or b64");
  d.expect(2);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
}

// Bit i of the table is the result where the bits of a, b, c read i = 4a + 2b + c.
void lop3(Warp& w, const Inst& in, u32 m) {
  u32* d = w.lanes<u32>(in.d);
  const u32 *a = w.lanes<u32>(in.a), *b = w.lanes<u32>(in.b), *c = w.lanes<u32>(in.c);
  u32 table[8];
  for (int i = 0; i < 8; i++) table[i] = in.sub >> i & 1 ? ~0u : 0;
  each_lane(m, [&](int l) {
    const u32 x = a[l], y = b[l], z = c[l];
    d[l] = (table[0] & ~x & ~y & ~z) | (table[1] & ~x & ~y & z) | (table[2] & ~x & y & ~z) | (table[3] & ~x & y & z) |
           (table[4] & x & ~y & ~z) | (table[5] & x & ~y & z) | (table[6] & x & y & ~z) | (table[7] & x & y & z);
  });
}

void decode_lop3(Decoder& d) {
  if (d.take_type() != Type::b32) d.refuse("lop3 is of b32");
  d.expect(5);
  d.inst.run = lop3;
  d.inst.sub = static_cast<u16>(d.immediate(d.operand(4)));
  if (d.inst.sub > 255) d.refuse("the table of lop3 has 8 bits");
  d.dest(&Inst::d, d.operand(0), 4);
  d.source(&Inst::a, d.operand(1), Type::b32);
  d.source(&Inst::b, d.operand(2), Type::b32);
  d.source(&Inst::c, d.operand(3), Type::b32);
}

// Amounts at or above the width shift everything out.
template <class T, bool Left>
void shift(Warp& w, const Inst& in, u32 m) {
  T* d = w.lanes<T>(in.d);
  const T* a = w.lanes<T>(in.a);
  const u32* b = w.lanes<u32>(in.b);
  constexpr u32 bits = 8 * sizeof(T);
  each_lane(m, [&](int l) {
    const u32 n = b[l];
    if constexpr (std::is_signed_v<T>) {
      d[l] = static_cast<T>(a[l] >> (n < bits ? n : bits - 1));
    } else if constexpr (Left) {
      d[l] = static_cast<T>(n < bits ? a[l] << (n & (bits - 1)) : 0);
    } else {
      d[l] = static_cast<T>(n < bits ? a[l] >> (n & (bits - 1)) : 0);
    }
  });
}

void decode_shl(Decoder& d) {
  const Type t = d.take_type();
  d.inst.run = unsigned_handler(t, shift<u16, true>, shift<u32, true>, shift<u64, true>);
  if (!d.inst.run) d.refuse("shl is of b16, b32 or b64");
  d.expect(3);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
  d.source(&Inst::b, d.operand(2), Type::u32);
}

void decode_shr(Decoder& d) {
  const Type t = d.take_type();
  d.inst.run = with_integer(d, t, [](auto v) -> Handler { return shift<decltype(v), false>; });
  d.expect(3);
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
  d.source(&Inst::b, d.operand(2), Type::u32);
}

// Funnel shift of b:a; clamp limits the amount to 32, wrap takes it modulo 32.
enum Funnel : u16 { funnel_left = 1, funnel_clamp = 2 };
void shf(Warp& w, const Inst& in, u32 m) {
  u32* d = w.lanes<u32>(in.d);
  const u32 *a = w.lanes<u32>(in.a), *b = w.lanes<u32>(in.b), *c = w.lanes<u32>(in.c);
  const bool left = in.sub & funnel_left, clamp = in.sub & funnel_clamp;
  each_lane(m, [&](int l) {
    const u32 n = clamp ? (c[l] < 32 ? c[l] : 32) : c[l] & 31;
    const u64 v = static_cast<u64>(b[l]) << 32 | a[l];
    d[l] = left ? static_cast<u32>(v >> (32 - n)) : static_cast<u32>(v >> n);
  });
}

void decode_shf(Decoder& d) {
  const bool left = d.require_one({"l", "r"}) == "l", clamp = d.require_one({"clamp", "wrap"}) == "clamp";
  if (d.take_type() != Type::b32) d.refuse("shf is of b32");
  d.inst.run = shf;
  d.inst.sub = static_cast<u16>((left ? funnel_left : 0) | (clamp ? funnel_clamp : 0));
  d.expect(4);
  d.dest(&Inst::d, d.operand(0), 4);
  d.source(&Inst::a, d.operand(1), Type::b32);
  d.source(&Inst::b, d.operand(2), Type::b32);
  d.source(&Inst::c, d.operand(3), Type::u32);
}

// Bytes 0-3 are a's, 4-7 b's; a selector's bit 3 replicates the byte's sign.
u32 permute(u32 a, u32 b, u32 selectors) {
  const u64 v = static_cast<u64>(b) << 32 | a;
  u32 r = 0;
  for (int i = 0; i < 4; i++) {
    const u32 s = selectors >> (4 * i) & 15;
    u32 byte = static_cast<u32>(v >> (8 * (s & 7))) & 0xff;
    if (s & 8) byte = byte & 0x80 ? 0xff : 0;
    r |= byte << (8 * i);
  }
  return r;
}

enum class Permute : u16 { index, f4e, b4e, rc8, ecl, ecr, rc16 };

// The selectors of the special modes, by the low two bits of c (PTX ISA, table of prmt).
constexpr u16 permute_modes[6][4] = {{0x3210, 0x4321, 0x5432, 0x6543}, {0x5670, 0x6701, 0x7012, 0x0123},
                                     {0x0000, 0x1111, 0x2222, 0x3333}, {0x3210, 0x3211, 0x3222, 0x3333},
                                     {0x0000, 0x1110, 0x2210, 0x3210}, {0x1010, 0x3232, 0x1010, 0x3232}};

void prmt(Warp& w, const Inst& in, u32 m) {
  u32* d = w.lanes<u32>(in.d);
  const u32 *a = w.lanes<u32>(in.a), *b = w.lanes<u32>(in.b), *c = w.lanes<u32>(in.c);
  if (in.sub == 0) {
    each_lane(m, [&](int l) { d[l] = permute(a[l], b[l], c[l]); });
  } else {
    const u16* mode = permute_modes[in.sub - 1];
    each_lane(m, [&](int l) { d[l] = permute(a[l], b[l], mode[c[l] & 3]); });
  }
}

void decode_prmt(Decoder& d) {
  if (d.take_type() != Type::b32) d.refuse("prmt is of b32");
  const std::string_view mode = d.take_one({"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"});
  const std::string_view names[] = {"", "f4e", "b4e", "rc8", "ecl", "ecr", "rc16"};
  for (u16 i = 0; i < 7; i++)
    if (names[i] == mode) d.inst.sub = i;
  d.inst.run = prmt;
  d.expect(4);
  d.dest(&Inst::d, d.operand(0), 4);
  d.source(&Inst::a, d.operand(1), Type::b32);
  d.source(&Inst::b, d.operand(2), Type::b32);
  d.source(&Inst::c, d.operand(3), Type::b32);
}

// bmsk: b ones from bit a. szext: the low b bits of a, sign or zero extended.
template <bool Clamp>
void bmsk(Warp& w, const Inst& in, u32 m) {
  u32* d = w.lanes<u32>(in.d);
  const u32 *a = w.lanes<u32>(in.a), *b = w.lanes<u32>(in.b);
  each_lane(m, [&](int l) {
    const u32 from = Clamp ? std::min(a[l], 32u) : a[l] & 31, n = Clamp ? std::min(b[l], 32u) : b[l] & 31;
    const u64 ones = (u64{1} << n) - 1;
    d[l] = static_cast<u32>(ones << from);
  });
}

void decode_bmsk(Decoder& d) {
  d.inst.run = d.require_one({"clamp", "wrap"}) == "clamp" ? bmsk<true> : bmsk<false>;
  if (d.take_type() != Type::b32) d.refuse("bmsk is of b32");
  d.expect(3);
  d.dest(&Inst::d, d.operand(0), 4);
  d.source(&Inst::a, d.operand(1), Type::u32);
  d.source(&Inst::b, d.operand(2), Type::u32);
}

template <bool Clamp, bool Signed>
void szext(Warp& w, const Inst& in, u32 m) {
  u32* d = w.lanes<u32>(in.d);
  const u32 *a = w.lanes<u32>(in.a), *b = w.lanes<u32>(in.b);
  each_lane(m, [&](int l) {
    const u32 n = Clamp ? std::min(b[l], 32u) : b[l] & 31;
    if (n == 0) {
      d[l] = 0;
    } else if (Signed) {
      d[l] = static_cast<u32>(static_cast<i32>(a[l] << (32 - n)) >> (32 - n));
    } else {
      d[l] = a[l] << (32 - n) >> (32 - n);
    }
  });
}

void decode_szext(Decoder& d) {
  const bool clamp = d.require_one({"clamp", "wrap"}) == "clamp";
  const Type t = d.take_type();
  if (t != Type::s32 && t != Type::u32) d.refuse("szext is of s32 or u32");
  const bool s = t == Type::s32;
  d.inst.run = clamp ? (s ? szext<true, true> : szext<true, false>) : (s ? szext<false, true> : szext<false, false>);
  d.expect(3);
  d.dest(&Inst::d, d.operand(0), 4);
  d.source(&Inst::a, d.operand(1), t);
  d.source(&Inst::b, d.operand(2), Type::u32);
}

}  // namespace

const OpcodeList logic_opcodes = {
    {"and", decode_logic<And>}, {"or", decode_logic<Or>}, {"xor", decode_logic<Xor>}, {"not", decode_not},
    {"cnot", decode_cnot},      {"lop3", decode_lop3},    {"shl", decode_shl},        {"shr", decode_shr},
    {"shf", decode_shf},        {"prmt", decode_prmt},    {"bmsk", decode_bmsk},      {"szext", decode_szext},
};

}  // namespace vgpu
