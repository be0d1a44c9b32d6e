// mov (registers, symbols, packing and unpacking), cvta, isspacep, and the clocks.
#include "vgpu/decoder.h"

namespace vgpu {
namespace {

template <class T>
void move(Warp& w, const Inst& in, u32 m) {
  T* d = w.lanes<T>(in.d);
  const T* a = w.lanes<T>(in.a);
  each_lane(m, [&](int l) { d[l] = a[l]; });
}

void move_predicate(Warp& w, const Inst& in, u32 m) { set_predicate(w, in.d, m, predicate(w, in.a)); }

// {a, b, ..} = d and d = {a, b, ..}: element i is the bits from i * width on.
template <class Whole, class Part>
void unpack(Warp& w, const Inst& in, u32 m) {
  const Whole* a = w.lanes<Whole>(in.a);
  for (u32 i = 0; i < in.list_size; i++) {
    if (in.list[i] == Decoder::sink) continue;
    Part* d = w.lanes<Part>(in.list[i]);
    each_lane(m, [&](int l) { d[l] = static_cast<Part>(a[l] >> (8 * sizeof(Part) * i)); });
  }
}

template <class Whole, class Part>
void pack(Warp& w, const Inst& in, u32 m) {
  alignas(64) Whole v[warp_size] = {};
  for (u32 i = 0; i < in.list_size; i++) {
    const Part* a = w.lanes<Part>(in.list[i]);
    for (int l = 0; l < warp_size; l++) v[l] |= static_cast<Whole>(a[l]) << (8 * sizeof(Part) * i);
  }
  Whole* d = w.lanes<Whole>(in.d);
  each_lane(m, [&](int l) { d[l] = v[l]; });
}

Handler pick_packing(Decoder& d, int whole, int part, bool packing) {
  if (whole == 4 && part == 2) return packing ? pack<u32, u16> : unpack<u32, u16>;
  if (whole == 8 && part == 2) return packing ? pack<u64, u16> : unpack<u64, u16>;
  if (whole == 8 && part == 4) return packing ? pack<u64, u32> : unpack<u64, u32>;
  if (whole == 16 && part == 8) return packing ? pack<unsigned __int128, u64> : unpack<unsigned __int128, u64>;
  if (whole == 16 && part == 4) return packing ? pack<unsigned __int128, u32> : unpack<unsigned __int128, u32>;
  d.refuse("mov of these widths is not supported");
}

// The clocks count executed instructions, so that a run repeats.
template <class T>
void clock(Warp& w, const Inst& in, u32 m) {
  T* d = w.lanes<T>(in.d);
  each_lane(m, [&](int l) { d[l] = static_cast<T>(w.executed); });
}

Handler pick_move(Decoder& d, int bytes) {
  switch (bytes) {
    case 2: return move<u16>;
    case 4: return move<u32>;
    case 8: return move<u64>;
    case 16: return move<unsigned __int128>;
    default: d.refuse("mov of this type is not supported");
  }
}

void decode_mov(Decoder& d) {
  const Type t = d.take_type();
  d.expect(2);
  const Operand &to = d.operand(0), &from = d.operand(1);
  if (t == Type::pred) {
    d.inst.run = move_predicate;
    d.dest_predicate(&Inst::d, to);
    d.source_predicate(&Inst::a, from);
    return;
  }
  const int bytes = type_bytes(t);
  if (to.kind == Operand::Kind::list) {
    d.begin_list(to.items.size());
    const int part = d.dest_list(to, bytes / static_cast<int>(to.items.size()));
    d.inst.run = pick_packing(d, bytes, part, false);
    d.source(&Inst::a, from, t);
    return;
  }
  d.dest(&Inst::d, to, bytes);
  if (from.kind == Operand::Kind::list) {
    const int n = static_cast<int>(from.items.size());
    d.begin_list(from.items.size());
    d.source_list(from, bytes / n == 2 ? Type::b16 : bytes / n == 4 ? Type::b32 : Type::b64, false);
    d.inst.run = pick_packing(d, bytes, bytes / n, true);
    return;
  }
  if (from.name == "%clock" || from.name == "%clock64" || from.name == "%globaltimer") {
    if ((bytes == 8) == (from.name == "%clock")) d.refuse("the clock has another width");
    d.inst.run = bytes == 8 ? clock<u64> : clock<u32>;
    return;
  }
  d.inst.run = pick_move(d, bytes);
  d.inst.tracking = Inst::Tracking::copy;
  // %laneid and the like have 32 bits; u16 and u64 forms of mov take them too, but nvcc does not write them.
  d.source(&Inst::a, from, t);
}

u64 window_of(Space s) {
  return s == Space::shared ? shared_window : s == Space::local ? local_window : s == Space::param ? param_window : 0;
}

// To generic: the window plus the offset. From generic: the offset; an address of another space is reported when it is
// used.
template <class D, class S, bool ToSpace>
void cvta(Warp& w, const Inst& in, u32 m) {
  D* d = w.lanes<D>(in.d);
  const S* a = w.lanes<S>(in.a);
  const u64 window = window_of(in.space);
  each_lane(m, [&](int l) {
    const u64 v = a[l];
    d[l] = static_cast<D>(!ToSpace ? v | window : window && (v & ~window_offset) == window ? v & window_offset : v);
  });
}

Space take_space(Decoder& d) {
  const std::string_view s =
      d.require_one({"global", "shared", "shared::cta", "shared::cluster", "local", "const", "param", "param::entry"});
  return s == "global"             ? Space::global
         : s.starts_with("shared") ? Space::shared
         : s == "local"            ? Space::local
         : s == "const"            ? Space::constant
                                   : Space::param;
}

void decode_cvta(Decoder& d) {
  const bool to = d.take("to");
  d.inst.space = take_space(d);
  const Type t = d.take_type();
  if (t != Type::u64) d.refuse("addresses have 64 bits");
  d.expect(2);
  d.dest(&Inst::d, d.operand(0), 8);
  const int from = d.source_any(&Inst::a, d.operand(1), Type::u64);
  if (from != 8) d.refuse("addresses have 64 bits");
  d.inst.run = to ? cvta<u64, u64, true> : cvta<u64, u64, false>;
}

void isspacep(Warp& w, const Inst& in, u32 m) {
  const u64* a = w.lanes<u64>(in.a);
  const u64 window = window_of(in.space);
  u32 r = 0;
  for (int l = 0; l < warp_size; l++) {
    const u64 high = a[l] & ~window_offset;
    const bool other = high == shared_window || high == local_window || high == param_window;
    r |= static_cast<u32>(window ? high == window : !other) << l;
  }
  set_predicate(w, in.d, m, r);
}

void decode_isspacep(Decoder& d) {
  d.inst.space = take_space(d);
  if (d.inst.space == Space::constant) d.refuse("isspacep.const is not supported");
  d.inst.run = isspacep;
  d.expect(2);
  d.dest_predicate(&Inst::d, d.operand(0));
  d.source(&Inst::a, d.operand(1), Type::u64);
}

}  // namespace

const OpcodeList move_opcodes = {{"mov", decode_mov}, {"cvta", decode_cvta}, {"isspacep", decode_isspacep}};

}  // namespace vgpu
