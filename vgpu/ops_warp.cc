// What lanes of a warp do together: shfl, vote, match, redux, activemask, elect.
#include <algorithm>

#include <fmt/format.h>

#include "vgpu/decoder.h"

namespace vgpu {
namespace {

constexpr u32 no_predicate = ~u32{0};
enum class Shuffle : u16 { up, down, bfly, idx };

// Lanes with the same mask act together; a converged warp usually has one.
template <class F>
void for_each_mask(Warp& w, const Inst& in, u32 m, F f) {
  const u32* masks = w.lanes<u32>(in.a);
  for (u32 left = m; left;) {
    const u32 mask = masks[first_lane(left)];
    u32 same = 0;
    for (int l = 0; l < warp_size; l++)
      if (left >> l & 1 && masks[l] == mask) same |= 1u << l;
    left &= ~same;
    f(same);
  }
}

// in.a mask, in.b value, in.c lane or distance, in.e clamp and segment; in.list[0] the predicate.
void shfl(Warp& w, const Inst& in, u32 m) {
  w.step++;
  alignas(64) u32 value[warp_size];
  std::memcpy(value, w.lanes<u32>(in.b), sizeof value);
  const u32 *b = w.lanes<u32>(in.c), *c = w.lanes<u32>(in.e), *masks = w.lanes<u32>(in.a);
  u32* d = w.lanes<u32>(in.d);
  alignas(64) int source[warp_size];
  alignas(64) u32 valid[warp_size];
  const Shuffle kind = static_cast<Shuffle>(in.sub);
  for (int l = 0; l < warp_size; l++) {
    const int n = static_cast<int>(b[l] & 31), segment = static_cast<int>(c[l] >> 8 & 31),
              clamp = static_cast<int>(c[l] & 31);
    const int highest = (l & segment) | (clamp & ~segment), lowest = l & segment;
    const int j = kind == Shuffle::up     ? l - n
                  : kind == Shuffle::down ? l + n
                  : kind == Shuffle::bfly ? l ^ n
                                          : lowest | (n & ~segment);
    const bool inside = kind == Shuffle::up ? j >= highest : j <= highest;
    source[l] = inside ? j & 31 : l;
    valid[l] = inside ? 1u << l : 0;
  }
  u32 p = 0, outside = 0;
  for (int l = 0; l < warp_size; l++) {
    p |= valid[l];
    outside |= (m >> l & 1) && !((masks[l] & w.live) >> source[l] & 1) ? 1u << l : 0;
  }
  if (outside) {
    const int l = first_lane(outside);
    fault(w, in, l, "shuffle mask",
          fmt::format(
              "lane {} reads lane {}, which {}", l, source[l],
              masks[l] >> source[l] & 1 ? "has exited" : fmt::format("the mask {:#010x} does not name", masks[l])));
  }
  each_lane(m, [&](int l) { d[l] = value[source[l]]; });
  if (in.offset) set_predicate(w, static_cast<u32>(in.target), m, p);
}

void decode_shfl(Decoder& d) {
  if (!d.take("sync")) d.refuse("shfl.sync is expected");
  const std::string_view names[] = {"up", "down", "bfly", "idx"};
  const std::string_view name = d.require_one({"up", "down", "bfly", "idx"});
  for (u16 i = 0; i < 4; i++)
    if (names[i] == name) d.inst.sub = i;
  if (d.take_type() != Type::b32) d.refuse("shfl is of b32");
  d.expect(5);
  d.inst.control = Control::converge;
  d.inst.run = shfl;
  const Operand& to = d.operand(0);
  if (to.kind == Operand::Kind::pair) {
    d.dest(&Inst::d, to.items[0], 4);
    d.dest_predicate(&Inst::target, to.items[1]);
    d.inst.offset = 1;
  } else {
    d.dest(&Inst::d, to, 4);
  }
  d.source(&Inst::b, d.operand(1), Type::b32);
  d.source(&Inst::c, d.operand(2), Type::b32);
  d.source(&Inst::e, d.operand(3), Type::b32);
  d.source(&Inst::a, d.operand(4), Type::b32);
}

enum class Vote : u16 { all, any, uni, ballot };

void vote(Warp& w, const Inst& in, u32 m) {
  w.step++;
  const u32 p = predicate(w, in.b);
  const Vote kind = static_cast<Vote>(in.sub);
  for_each_mask(w, in, m, [&](u32 group) {
    const u32 yes = p & group;
    if (kind == Vote::ballot) {
      u32* d = w.lanes<u32>(in.d);
      each_lane(group, [&](int l) { d[l] = yes; });
      return;
    }
    const bool r = kind == Vote::all ? yes == group : kind == Vote::any ? yes != 0 : yes == 0 || yes == group;
    set_predicate(w, in.d, group, r ? full_mask : 0);
  });
}

void decode_vote(Decoder& d) {
  if (!d.take("sync")) d.refuse("vote.sync is expected");
  const std::string_view names[] = {"all", "any", "uni", "ballot"};
  const std::string_view name = d.require_one({"all", "any", "uni", "ballot"});
  for (u16 i = 0; i < 4; i++)
    if (names[i] == name) d.inst.sub = i;
  const Type t = d.take_type();
  const bool ballot = name == "ballot";
  if (t != (ballot ? Type::b32 : Type::pred)) d.refuse("the result of this vote has another type");
  d.expect(3);
  d.inst.control = Control::converge;
  d.inst.run = vote;
  ballot ? d.dest(&Inst::d, d.operand(0), 4) : d.dest_predicate(&Inst::d, d.operand(0));
  d.source_predicate(&Inst::b, d.operand(1));
  d.source(&Inst::a, d.operand(2), Type::b32);
}

// match.any: lanes with the same value; match.all: the mask if all values are the same, else 0.
template <class T, bool All>
void match(Warp& w, const Inst& in, u32 m) {
  w.step++;
  const T* v = w.lanes<T>(in.b);
  u32* d = w.lanes<u32>(in.d);
  for_each_mask(w, in, m, [&](u32 group) {
    u32 result[warp_size] = {};
    bool all_same = true;
    for (int l = 0; l < warp_size; l++) {
      if (!(group >> l & 1)) continue;
      for (int k = 0; k < warp_size; k++)
        if (group >> k & 1 && v[k] == v[l]) result[l] |= 1u << k;
      all_same = all_same && result[l] == group;
    }
    each_lane(group, [&](int l) { d[l] = All ? (all_same ? group : 0) : result[l]; });
    if (in.offset) set_predicate(w, in.target, group, all_same ? full_mask : 0);
  });
}

void decode_match(Decoder& d) {
  const bool all = d.require_one({"all", "any"}) == "all";
  if (!d.take("sync")) d.refuse("match.sync is expected");
  const Type t = d.take_type();
  if (t != Type::b32 && t != Type::b64) d.refuse("match is of b32 or b64");
  d.inst.run =
      t == Type::b32 ? (all ? match<u32, true> : match<u32, false>) : (all ? match<u64, true> : match<u64, false>);
  d.inst.control = Control::converge;
  d.expect(3);
  const Operand& to = d.operand(0);
  if (to.kind == Operand::Kind::pair) {
    if (!all) d.refuse("match.any has no predicate");
    d.dest(&Inst::d, to.items[0], 4);
    d.dest_predicate(&Inst::target, to.items[1]);
    d.inst.offset = 1;
  } else {
    d.dest(&Inst::d, to, 4);
  }
  d.source(&Inst::b, d.operand(1), t);
  d.source(&Inst::a, d.operand(2), Type::b32);
}

enum class Redux : u16 { add, min, max, bit_and, bit_or, bit_xor };

template <class T>
void redux(Warp& w, const Inst& in, u32 m) {
  w.step++;
  const T* v = w.lanes<T>(in.b);
  T* d = w.lanes<T>(in.d);
  for_each_mask(w, in, m, [&](u32 group) {
    T r = v[first_lane(group)];
    for (int l = first_lane(group) + 1; l < warp_size; l++) {
      if (!(group >> l & 1)) continue;
      switch (static_cast<Redux>(in.sub)) {
        case Redux::add: r = static_cast<T>(static_cast<u32>(r) + static_cast<u32>(v[l])); break;
        case Redux::min: r = std::min(r, v[l]); break;
        case Redux::max: r = std::max(r, v[l]); break;
        case Redux::bit_and: r &= v[l]; break;
        case Redux::bit_or: r |= v[l]; break;
        case Redux::bit_xor: r ^= v[l]; break;
      }
    }
    each_lane(group, [&](int l) { d[l] = r; });
  });
}

void decode_redux(Decoder& d) {
  if (!d.take("sync")) d.refuse("redux.sync is expected");
  const std::string_view names[] = {"add", "min", "max", "and", "or", "xor"};
  const std::string_view name = d.require_one({"add", "min", "max", "and", "or", "xor"});
  for (u16 i = 0; i < 6; i++)
    if (names[i] == name) d.inst.sub = i;
  const Type t = d.take_type();
  const bool bitwise = d.inst.sub >= 3;
  if (bitwise ? t != Type::b32 : t != Type::u32 && t != Type::s32) d.refuse("redux of this type is not supported");
  d.inst.run = t == Type::s32 ? redux<i32> : redux<u32>;
  d.inst.control = Control::converge;
  d.expect(3);
  d.dest(&Inst::d, d.operand(0), 4);
  d.source(&Inst::b, d.operand(1), t);
  d.source(&Inst::a, d.operand(2), Type::b32);
}

void activemask(Warp& w, const Inst& in, u32 m) {
  u32* d = w.lanes<u32>(in.d);
  each_lane(m, [&](int l) { d[l] = m; });
}

void decode_activemask(Decoder& d) {
  if (d.take_type() != Type::b32) d.refuse("activemask is of b32");
  d.inst.run = activemask;
  d.expect(1);
  d.dest(&Inst::d, d.operand(0), 4);
}

// elect.sync d|p, mask: the lowest lane of the mask is the one.
void elect(Warp& w, const Inst& in, u32 m) {
  for_each_mask(w, in, m, [&](u32 group) {
    const u32 leader = static_cast<u32>(first_lane(group));
    if (in.offset) {
      u32* d = w.lanes<u32>(in.d);
      each_lane(group, [&](int l) { d[l] = leader; });
    }
    set_predicate(w, in.target, group, 1u << leader);
  });
}

void decode_elect(Decoder& d) {
  if (!d.take("sync")) d.refuse("elect.sync is expected");
  d.expect(2);
  if (d.operand(0).kind != Operand::Kind::pair) d.refuse("elect gives a lane and a predicate");
  d.inst.run = elect;
  d.inst.control = Control::converge;
  if (d.operand(0).items[0].kind != Operand::Kind::sink) {
    d.dest(&Inst::d, d.operand(0).items[0], 4);
    d.inst.offset = 1;
  }
  d.dest_predicate(&Inst::target, d.operand(0).items[1]);
  d.source(&Inst::a, d.operand(1), Type::b32);
}

}  // namespace

const OpcodeList warp_opcodes = {{"shfl", decode_shfl},
                                 {"vote", decode_vote},
                                 {"match", decode_match},
                                 {"redux", decode_redux},
                                 {"activemask", decode_activemask},
                                 {"elect", decode_elect}};

}  // namespace vgpu
