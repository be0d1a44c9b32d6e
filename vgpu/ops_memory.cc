// ld and st of every space, scalar and vector, with their cache and ordering qualifiers.
#include <type_traits>

#include "vgpu/access.h"
#include "vgpu/decoder.h"

namespace vgpu {
namespace {

template <class T>
T peek(const u8* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Element M of memory into register type R; signed elements are extended.
template <class M, class R>
void load_lanes(Warp& w, const Inst& in, u8* base, const Access& a) {
  const u32 n = in.count;
  if (n == 1) {
    R* d = w.lanes<R>(in.d);
    if (sizeof(M) == sizeof(R) && a.contiguous) {
      std::memcpy(d, base + a.address[0], sizeof(R) * warp_size);
    } else {
      each_lane(a.mask, [&](int l) { d[l] = static_cast<R>(peek<M>(base + a.address[l])); });
    }
    return;
  }
  for (u32 i = 0; i < n; i++) {
    if (in.list[i] == Decoder::sink) continue;
    R* d = w.lanes<R>(in.list[i]);
    const u64 offset = i * sizeof(M);
    each_lane(a.mask, [&](int l) { d[l] = static_cast<R>(peek<M>(base + a.address[l] + offset)); });
  }
}

template <class M, class R>
void store_lanes(Warp& w, const Inst& in, u8* base, const Access& a) {
  const u32 n = in.count;
  if (n == 1) {
    const R* d = w.lanes<R>(in.d);
    if (sizeof(M) == sizeof(R) && a.contiguous) {
      std::memcpy(base + a.address[0], d, sizeof(R) * warp_size);
    } else {
      for (int l = 0; l < warp_size; l++) {
        if (!(a.mask >> l & 1)) continue;
        const M v = static_cast<M>(d[l]);
        std::memcpy(base + a.address[l], &v, sizeof v);
      }
    }
    return;
  }
  for (int l = 0; l < warp_size; l++) {
    if (!(a.mask >> l & 1)) continue;
    for (u32 i = 0; i < n; i++) {
      const M v = static_cast<M>(w.lanes<R>(in.list[i])[l]);
      std::memcpy(base + a.address[l] + i * sizeof(M), &v, sizeof v);
    }
  }
}

template <bool Load, class M>
Mover pick_register(int width) {
  const auto pick = [&]<class R>(R) -> Mover {
    return Load ? Mover{load_lanes<M, R>} : Mover{store_lanes<std::make_unsigned_t<M>, R>};
  };
  if (width == 2 && sizeof(M) <= 2) return pick(u16{});
  if (width == 4 && sizeof(M) <= 4) return pick(u32{});
  if (width == 8) return pick(u64{});
  return nullptr;
}

template <bool Load>
Mover pick_mover(Type t, int width) {
  switch (t) {
    case Type::b8:
    case Type::u8: return pick_register<Load, u8>(width);
    case Type::s8: return pick_register<Load, i8>(width);
    case Type::b16:
    case Type::u16:
    case Type::f16:
    case Type::bf16: return pick_register<Load, u16>(width);
    case Type::s16: return pick_register<Load, i16>(width);
    case Type::b32:
    case Type::u32:
    case Type::f32:
    case Type::f16x2:
    case Type::bf16x2: return pick_register<Load, u32>(width);
    case Type::s32: return pick_register<Load, i32>(width);
    case Type::b64:
    case Type::u64:
    case Type::s64:
    case Type::f64: return pick_register<Load, u64>(width);
    default: return nullptr;
  }
}

// b128 registers hold 16 bytes a lane.
template <bool Load>
void move_128(Warp& w, const Inst& in, u8* base, const Access& a) {
  u8* r = w.registers + in.d;
  for (int l = 0; l < warp_size; l++) {
    if (!(a.mask >> l & 1)) continue;
    Load ? std::memcpy(r + 16 * l, base + a.address[l], 16) : std::memcpy(base + a.address[l], r + 16 * l, 16);
  }
}

template <AccessKind Kind>
void access_memory(Warp& w, const Inst& in, u32 m) {
  Access a;
  for (u32 left = m; left;) {
    gather_addresses(w, in, in.a, left, a);
    a.bytes = static_cast<u32>(in.bytes) * in.count;
    left &= ~split_by_space(in, a);
    u8* base = prepare(w, in, a, Kind);
    in.move(w, in, base, a);
  }
}

void take_space(Decoder& d) {
  const std::string_view s =
      d.take_one({"global", "shared", "shared::cta", "shared::cluster", "local", "const", "param", "param::entry",
                  "param::func"});
  if (s.empty()) return;
  d.inst.space = s == "global"             ? Space::global
                 : s.starts_with("shared") ? Space::shared
                 : s == "local"            ? Space::local
                 : s == "const"            ? Space::constant
                                           : Space::param;
}

// Cache hints change nothing here; what orders accesses makes them strong.
void take_hints(Decoder& d) {
  if (d.take_one({"volatile", "relaxed", "acquire", "release", "mmio"}) != "") {
    d.inst.strong = true;
    d.inst.ordered = d.inst.space == Space::global || d.inst.space == Space::generic;
    d.take_one({"cta", "gpu", "sys", "cluster"});
  }
  d.take("weak");
  d.take_one({"ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc"});
  d.take_one({"L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate"});
  d.take_one({"L2::evict_first", "L2::evict_last", "L2::evict_normal"});
  d.take_one({"L2::64B", "L2::128B", "L2::256B"});
  d.take("unified");
}

template <bool Load>
void decode_access(Decoder& d) {
  take_space(d);
  take_hints(d);
  const bool nc = Load && d.take("nc");
  if (nc && d.inst.space != Space::global) d.refuse("nc is of global memory");
  const std::string_view vector = d.take_one({"v2", "v4", "v8"});
  const bool policy = d.take("L2::cache_hint");
  const Type t = d.take_type();
  d.expect(policy ? 3 : 2);
  const Operand &value = d.operand(Load ? 0 : 1), &address = d.operand(Load ? 1 : 0);
  d.inst.bytes = static_cast<u8>(type_bytes(t));
  d.inst.count = vector.empty() ? 1 : static_cast<u8>(vector[1] - '0');
  d.inst.run = access_memory < Load ? AccessKind::read : AccessKind::write > ;
  d.address(address);
  if (policy && !d.is_register(d.operand(2))) d.refuse("the cache policy is no register");
  if (d.inst.bytes * d.inst.count > 32 || (d.inst.bytes * d.inst.count > 16 && d.inst.space != Space::global))
    d.refuse("too many bytes");
  if (t == Type::b128) {
    if (d.inst.count != 1) d.refuse("vectors of b128 are not supported");
    d.inst.move = move_128<Load>;
    Load ? d.dest(&Inst::d, value, 16) : d.source(&Inst::d, value, t);
    return;
  }
  int width = 0;
  if (d.inst.count > 1) {
    if (value.kind != Operand::Kind::list || value.items.size() != d.inst.count)
      d.refuse("as many registers as elements are expected");
    d.begin_list(d.inst.count);
    width = Load ? d.dest_list(value, 0) : d.source_list(value, t, true);
  } else if (value.kind == Operand::Kind::list) {
    d.refuse("a vector without .v2, .v4 or .v8");
  } else {
    width = Load ? d.dest_any(&Inst::d, value) : d.source_any(&Inst::d, value, t);
  }
  d.inst.width = static_cast<u8>(width);
  d.inst.move = pick_mover<Load>(t, width);
  if (!d.inst.move) d.refuse("this type does not fit the register");
}

}  // namespace

const OpcodeList memory_opcodes = {
    {"ld", decode_access<true>}, {"ldu", decode_access<true>}, {"st", decode_access<false>}};

}  // namespace vgpu
