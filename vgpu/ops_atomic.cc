// atom and red: add min max and or xor inc dec exch cas of 16, 32, 64 bits, f16, bf16, pairs of them, f32, f64; vectors
// of red and atom. Lanes go one after another, blocks in order where the result depends on it.
#include <cmath>

#include "vgpu/access.h"
#include "vgpu/float.h"

namespace vgpu {
namespace {

enum class AtomicOp : u16 { add, min, max, bit_and, bit_or, bit_xor, inc, dec, exch, cas };

u16 add_half(u16 a, u16 b, bool bf) {
  const double r = bf ? fma_odd(from_bf16(a), 1, from_bf16(b)) : fma_odd(from_f16(a), 1, from_f16(b));
  return bf ? to_bf16(to_f32_odd(r)) : to_f16(to_f32_odd(r));
}

u16 extreme_half(u16 a, u16 b, bool bf, bool least) {
  const float x = bf ? from_bf16(a) : from_f16(a), y = bf ? from_bf16(b) : from_f16(b);
  if (x != x) return y != y ? 0x7fff : b;
  if (y != y) return a;
  if (x == y) return least == ((a & 0x8000) != 0) ? a : b;
  return (x < y) == least ? a : b;
}

template <class T>
T integer_op(AtomicOp op, T old, T v, T c) {
  using U = std::make_unsigned_t<T>;
  switch (op) {
    case AtomicOp::add: return static_cast<T>(static_cast<U>(old) + static_cast<U>(v));
    case AtomicOp::min: return std::min(old, v);
    case AtomicOp::max: return std::max(old, v);
    case AtomicOp::bit_and: return old & v;
    case AtomicOp::bit_or: return old | v;
    case AtomicOp::bit_xor: return old ^ v;
    case AtomicOp::inc: return static_cast<U>(old) >= static_cast<U>(v) ? T{0} : static_cast<T>(old + 1);
    case AtomicOp::dec: return old == 0 || static_cast<U>(old) > static_cast<U>(v) ? v : static_cast<T>(old - 1);
    case AtomicOp::exch: return v;
    case AtomicOp::cas: return old == v ? c : old;
  }
  return old;
}

// Element types as the memory sees them.
template <class T>
struct Plain {
  using Bits = T;
  static T call(AtomicOp op, T old, T v, T c) { return integer_op(op, old, v, c); }
};
struct AddF32 {
  using Bits = u32;
  static u32 call(AtomicOp, u32 old, u32 v, u32) { return bits(canonical(f32(old) + f32(v))); }
};
struct AddF64 {
  using Bits = u64;
  static u64 call(AtomicOp, u64 old, u64 v, u64) {
    return std::bit_cast<u64>(std::bit_cast<double>(old) + std::bit_cast<double>(v));
  }
};
template <bool Bf>
struct Half {
  using Bits = u16;
  static u16 call(AtomicOp op, u16 old, u16 v, u16) {
    return op == AtomicOp::add ? add_half(old, v, Bf) : extreme_half(old, v, Bf, op == AtomicOp::min);
  }
};
template <bool Bf>
struct Pair {
  using Bits = u32;
  static u32 call(AtomicOp op, u32 old, u32 v, u32) {
    const u32 lo = Half<Bf>::call(op, static_cast<u16>(old), static_cast<u16>(v), 0);
    return lo | static_cast<u32>(Half<Bf>::call(op, static_cast<u16>(old >> 16), static_cast<u16>(v >> 16), 0)) << 16;
  }
};

// in.b and in.c are the operands, in.d the result, or list: `count` results (if any), then `count` operands.
template <class Kind, bool Returns>
void atomic(Warp& w, const Inst& in, u32 m) {
  using B = typename Kind::Bits;
  const AtomicOp op = static_cast<AtomicOp>(in.sub);
  Access a;
  for (u32 left = m; left;) {
    gather_addresses(w, in, in.a, left, a);
    a.bytes = static_cast<u32>(in.bytes) * in.count;
    left &= ~split_by_space(in, a);
    u8* base = prepare(w, in, a, AccessKind::atomic);
    for (int l = 0; l < warp_size; l++) {
      if (!(a.mask >> l & 1)) continue;
      for (u32 i = 0; i < in.count; i++) {
        u8* p = base + a.address[l] + i * sizeof(B);
        B old;
        std::memcpy(&old, p, sizeof old);
        const u32 operand = in.list_size ? in.list[i + (Returns ? in.count : 0)] : in.b;
        const B v = w.lanes<B>(operand)[l];
        const B next = Kind::call(op, old, v, op == AtomicOp::cas ? w.lanes<B>(in.c)[l] : B{0});
        std::memcpy(p, &next, sizeof next);
        if (Returns) w.lanes<B>(in.list_size ? in.list[i] : in.d)[l] = old;
      }
    }
  }
}

template <class Kind>
Handler pick_returning(bool returns) {
  return returns ? Handler{atomic<Kind, true>} : Handler{atomic<Kind, false>};
}

Handler pick_kind(Decoder& d, AtomicOp op, Type t, bool returns, bool noftz) {
  const bool add = op == AtomicOp::add, extreme = op == AtomicOp::min || op == AtomicOp::max;
  const bool exchange = op == AtomicOp::exch || op == AtomicOp::cas,
             bitwise = op >= AtomicOp::bit_and && op <= AtomicOp::bit_xor;
  switch (t) {
    case Type::s32:
      if (add || extreme) return pick_returning<Plain<i32>>(returns);
      break;
    case Type::u32:
      if (add || extreme || op == AtomicOp::inc || op == AtomicOp::dec) return pick_returning<Plain<u32>>(returns);
      break;
    case Type::b32:
      if (exchange || bitwise) return pick_returning<Plain<u32>>(returns);
      break;
    case Type::s64:
      if (add || extreme) return pick_returning<Plain<i64>>(returns);
      break;
    case Type::u64:
      if (add || extreme) return pick_returning<Plain<u64>>(returns);
      break;
    case Type::b64:
      if (exchange || bitwise) return pick_returning<Plain<u64>>(returns);
      break;
    case Type::b16:
      if (op == AtomicOp::cas) return pick_returning<Plain<u16>>(returns);
      break;
    case Type::f32:
      if (add) return pick_returning<AddF32>(returns);
      break;
    case Type::f64:
      if (add) return pick_returning<AddF64>(returns);
      break;
    case Type::f16:
      if (noftz && (add || (extreme && d.inst.count > 1))) return pick_returning<Half<false>>(returns);
      break;
    case Type::bf16:
      if (noftz && (add || (extreme && d.inst.count > 1))) return pick_returning<Half<true>>(returns);
      break;
    case Type::f16x2:
      if (noftz && (add || (extreme && d.inst.count > 1))) return pick_returning<Pair<false>>(returns);
      break;
    case Type::bf16x2:
      if (noftz && (add || (extreme && d.inst.count > 1))) return pick_returning<Pair<true>>(returns);
      break;
    default: break;
  }
  d.refuse("this atomic operation of this type is not supported");
}

AtomicOp take_operation(Decoder& d) {
  const std::string_view names[] = {"add", "min", "max", "and", "or", "xor", "inc", "dec", "exch", "cas"};
  const std::string_view name = d.require_one({"add", "min", "max", "and", "or", "xor", "inc", "dec", "exch", "cas"});
  for (u16 i = 0; i < 10; i++)
    if (names[i] == name) return static_cast<AtomicOp>(i);
  return AtomicOp::add;
}

void decode_atomic(Decoder& d) {
  const bool returns = d.has_opcode("atom");
  const std::string_view space = d.take_one({"global", "shared", "shared::cta"});
  d.inst.space = space.empty() ? Space::generic : space == "global" ? Space::global : Space::shared;
  d.take_one({"relaxed", "acquire", "release", "acq_rel"});
  d.take_one({"cta", "gpu", "sys", "cluster"});
  const AtomicOp op = take_operation(d);
  const bool noftz = d.take("noftz");
  const std::string_view vector = d.take_one({"v2", "v4", "v8"});
  const bool policy = d.take("L2::cache_hint");
  const Type t = d.take_type();
  d.inst.sub = static_cast<u16>(op);
  d.inst.bytes = static_cast<u8>(type_bytes(t));
  d.inst.count = vector.empty() ? 1 : static_cast<u8>(vector[1] - '0');
  if (d.inst.count > 1 && (!is_float(t) || t == Type::f64 || space != "global" || d.inst.bytes * d.inst.count > 16))
    d.refuse("vector atomics are of floats in global memory, up to 16 bytes");
  d.inst.strong = true;
  const bool sink = returns && d.operand(0).kind == Operand::Kind::sink;
  d.inst.run = pick_kind(d, op, t, returns && !sink, noftz);
  // Sums of integers and the like come out the same in any order, if nobody looks at what was there before.
  const bool commutes = is_integer(t) && (op <= AtomicOp::bit_xor);
  d.inst.ordered = d.inst.space != Space::shared && ((returns && !sink) || !commutes);
  if (is_float(t) && op == AtomicOp::add) {
    d.inst.flop_class = FlopClass::fma;
    d.inst.flops = d.inst.count * (t == Type::f16x2 || t == Type::bf16x2 ? 2 : 1);
  }
  const size_t at = returns ? 1 : 0, sources = op == AtomicOp::cas ? 2 : 1;
  d.expect(at + 1 + sources + (policy ? 1 : 0));
  d.address(d.operand(at));
  if (d.inst.count > 1) {
    const bool keeps = returns && !sink;
    const size_t n = d.inst.count;
    if (d.operand(at + 1).items.size() != n || (keeps && d.operand(0).items.size() != n))
      d.refuse("as many registers as elements are expected");
    d.begin_list(keeps ? 2 * n : n);
    if (keeps) d.dest_list(d.operand(0), type_bytes(t));
    d.source_list(d.operand(at + 1), t, false);
    return;
  }
  if (returns && !sink) d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::b, d.operand(at + 1), t);
  if (op == AtomicOp::cas) d.source(&Inst::c, d.operand(at + 2), t);
}

}  // namespace

const OpcodeList atomic_opcodes = {{"atom", decode_atomic}, {"red", decode_atomic}};

}  // namespace vgpu
