// mbarrier.*: objects in shared memory that count arrivals of threads and bytes of bulk copies. Semantics of the PTX
// ISA 9.0, 9.7.13.15; the state of an arrival is its phase times 2^20 plus the pending count before it.
#include <fmt/format.h>

#include "vgpu/access.h"
#include "vgpu/async.h"
#include "vgpu/decoder.h"
#include "vgpu/shadow.h"

namespace vgpu {
namespace {

constexpr int count_bits = 20;

enum class Arrive : u16 { plain, expect, no_complete };

// The lane's mbarrier address: an offset in shared memory, of 8 bytes' alignment.
u32 mbarrier_address(Warp& w, const Inst& in, int lane) {
  u64 address = (in.wide_address ? w.lanes<u64>(in.a)[lane] : w.lanes<u32>(in.a)[lane]) + static_cast<u64>(in.offset);
  if (in.space == Space::generic) {
    if ((address & ~window_offset) != shared_window)
      fault(w, in, lane, "mbarrier", fmt::format("an mbarrier lies in shared memory, not at {:#x}", address));
    address &= window_offset;
  } else if (!in.wide_address) {
    address = static_cast<u32>(address);
  }
  if (address + 8 > w.block->shared_bytes)
    fault(w, in, lane, "out of bounds",
          fmt::format("an mbarrier of 8 bytes at {}", describe_address(w, address, Space::shared)));
  if (address % 8)
    fault(w, in, lane, "misaligned access",
          fmt::format("an mbarrier at {}, which is no multiple of 8", describe_address(w, address, Space::shared)));
  return static_cast<u32>(address);
}

Mbarrier& mbarrier_of(Warp& w, const Inst& in, int lane) {
  return w.block->async->mbarriers.at(w, in, lane, mbarrier_address(w, in, lane));
}

void init(Warp& w, const Inst& in, u32 m) {
  const u32* counts = w.lanes<u32>(in.b);
  for (int l = 0; l < warp_size; l++) {
    if (!(m >> l & 1)) continue;
    const u32 address = mbarrier_address(w, in, l);
    w.block->async->mbarriers.init(w, in, l, address, counts[l]);
    if (w.block->shadow) w.block->shadow->set_mbarrier(w, in, l, address, true);
  }
}

void invalidate(Warp& w, const Inst& in, u32 m) {
  for (int l = 0; l < warp_size; l++) {
    if (!(m >> l & 1)) continue;
    const u32 address = mbarrier_address(w, in, l);
    w.block->async->mbarriers.invalidate(w, in, l, address);
    if (w.block->shadow) w.block->shadow->set_mbarrier(w, in, l, address, false);
  }
}

// in.b: count or bytes; in.d: the state, where in.count is 1; in.strong: with release.
void arrive(Warp& w, const Inst& in, u32 m) {
  const u32* operand = w.lanes<u32>(in.b);
  const Arrive kind = static_cast<Arrive>(in.sub);
  if (in.strong) {  // before any arrival of this instruction ends the phase
    const u32 clock = w.clock;
    for (int l = 0; l < warp_size; l++) {
      if (!(m >> l & 1)) continue;
      w.clock = clock;
      release(w, mbarrier_of(w, in, l).arriving);
    }
  }
  for (int l = 0; l < warp_size; l++) {
    if (!(m >> l & 1)) continue;
    Mbarrier& b = mbarrier_of(w, in, l);
    if (in.count) w.lanes<u64>(in.d)[l] = b.phase << count_bits | b.pending;
    Mbarriers& all = w.block->async->mbarriers;
    if (kind == Arrive::no_complete && operand[l] >= b.pending && b.bytes == 0)
      fault(w, in, l, "mbarrier", "arrive.noComplete would complete the phase", describe(b));
    if (kind == Arrive::expect) all.expect(w, in, l, b, operand[l]);
    all.arrive(w, in, l, b, kind == Arrive::expect ? 1 : operand[l]);
  }
}

void expect_bytes(Warp& w, const Inst& in, u32 m) {
  for (int l = 0; l < warp_size; l++)
    if (m >> l & 1) w.block->async->mbarriers.expect(w, in, l, mbarrier_of(w, in, l), w.lanes<u32>(in.b)[l]);
}

void complete_bytes(Warp& w, const Inst& in, u32 m) {
  for (int l = 0; l < warp_size; l++)
    if (m >> l & 1) w.block->async->mbarriers.complete_bytes(w, in, l, mbarrier_of(w, in, l), w.lanes<u32>(in.b)[l]);
}

void pending_count(Warp& w, const Inst& in, u32 m) {
  each_lane(m,
            [&](int l) { w.lanes<u32>(in.d)[l] = static_cast<u32>(w.lanes<u64>(in.a)[l] & ((1u << count_bits) - 1)); });
}

// cp.async.mbarrier.arrive; without .noinc (in.sub 0) it brings its own arrival.
void arrive_after_copies(Warp& w, const Inst& in, u32 m) {
  CopyArrival arrival;
  arrival.warp = &w;
  arrival.inst = &in;
  arrival.mask = m;
  arrival.copies_before = w.copies_started;
  for (int l = 0; l < warp_size; l++) {
    if (!(m >> l & 1)) continue;
    Mbarrier& b = mbarrier_of(w, in, l);
    if (!in.sub) {
      if (b.pending == Mbarrier::most_arrivals) fault(w, in, l, "mbarrier", "the pending count overflows", describe(b));
      b.pending++;
    }
    arrival.mbarrier[l] = b.number;
  }
  w.block->async->start(arrival);
}

void take_space(Decoder& d) {
  // A cluster has one block here, so that its shared memory is the block's.
  if (!d.take_one({"shared", "shared::cta", "shared::cluster"}).empty()) d.inst.space = Space::shared;
}

void decode_arrive(Decoder& d) {
  const bool expect = d.take("expect_tx"), no_complete = d.take("noComplete");
  d.inst.strong = d.take_one({"release", "relaxed"}) != "relaxed";
  d.take_one({"cta", "cluster"});
  const bool remote = d.take("shared::cluster");
  if (remote) d.inst.space = Space::shared;
  take_space(d);
  d.expect(2, 3);
  if (d.size() == 2 && (expect || no_complete)) d.refuse("a count is expected");
  if (expect && no_complete) d.refuse("expect_tx and noComplete");
  d.inst.sub = static_cast<u16>(expect ? Arrive::expect : no_complete ? Arrive::no_complete : Arrive::plain);
  d.inst.run = arrive;
  d.inst.count = d.operand(0).kind != Operand::Kind::sink;
  if (d.inst.count) {
    if (remote) d.refuse("arrivals in another block have no state");
    d.dest(&Inst::d, d.operand(0), 8);
  }
  d.address(d.operand(1));
  Operand one;
  one.kind = Operand::Kind::number;
  one.bits = 1;
  d.source(&Inst::b, d.size() == 3 ? d.operand(2) : one, Type::u32);
}

void decode_wait(Decoder& d, bool may_suspend) {
  const bool parity = d.take("parity");
  d.inst.strong = d.take_one({"acquire", "relaxed"}) != "relaxed";
  d.take_one({"cta", "cluster"});
  if (!d.take_one({"shared", "shared::cta"}).empty()) d.inst.space = Space::shared;
  d.expect(3, may_suspend ? 4 : 3);
  d.inst.control = Control::poll;
  d.inst.sub = parity;
  d.dest_predicate(&Inst::d, d.operand(0));
  d.address(d.operand(1));
  d.source(&Inst::b, d.operand(2), parity ? Type::u32 : Type::b64);
  if (d.size() == 4) d.source(&Inst::c, d.operand(3), Type::u32);  // how long to wait at most: time has no meaning here
}

void decode_mbarrier(Decoder& d) {
  d.inst.async = true;
  const std::string_view what =
      d.require_one({"init", "inval", "arrive", "expect_tx", "complete_tx", "test_wait", "try_wait", "pending_count"});
  if (what == "arrive") {
    decode_arrive(d);
  } else if (what == "test_wait" || what == "try_wait") {
    decode_wait(d, what == "try_wait");
  } else if (what == "init" || what == "inval") {
    if (!d.take_one({"shared", "shared::cta"}).empty()) d.inst.space = Space::shared;
    d.expect(what == "init" ? 2 : 1);
    d.address(d.operand(0));
    d.inst.run = what == "init" ? init : invalidate;
    if (what == "init") d.source(&Inst::b, d.operand(1), Type::u32);
  } else if (what == "pending_count") {
    d.expect(2);
    d.inst.run = pending_count;
    d.dest(&Inst::d, d.operand(0), 4);
    d.source(&Inst::a, d.operand(1), Type::b64);
  } else {
    if (d.take("relaxed")) d.require_one({"cta", "cluster"});
    take_space(d);
    d.expect(2);
    d.inst.run = what == "expect_tx" ? expect_bytes : complete_bytes;
    d.address(d.operand(0));
    d.source(&Inst::b, d.operand(1), Type::u32);
  }
  if (!d.take("b64")) d.refuse("mbarriers are of b64");
}

}  // namespace

// in.sub: by parity; in.strong: with acquire.
u32 wait_for_phase(Warp& w, const Inst& in, u32 m) {
  u32 ended = 0;
  for (int l = warp_size - 1; l >= 0; l--) {  // the first lane that waits is the one that is named
    if (!(m >> l & 1)) continue;
    Mbarrier& b = mbarrier_of(w, in, l);
    bool done;
    if (in.sub) {
      const u32 parity = w.lanes<u32>(in.b)[l];
      if (parity > 1) fault(w, in, l, "mbarrier", fmt::format("a phase parity of {}", parity));
      done = (b.phase & 1) != parity;
    } else {
      const u64 phase = w.lanes<u64>(in.b)[l] >> count_bits;
      if (phase != b.phase && phase + 1 != b.phase)
        fault(w, in, l, "mbarrier",
              fmt::format("a wait for phase {}, which is neither the current one nor the one before", phase),
              describe(b));
      done = phase != b.phase;
    }
    if (done) {
      ended |= 1u << l;
      if (in.strong) acquire(w, b.completed);
    } else {
      w.stalled_for = &b;
      w.stalled_lane = static_cast<u32>(l);
    }
  }
  set_predicate(w, in.d, m, ended);
  return m & ~ended;
}

void decode_mbarrier_after_copies(Decoder& d) {
  if (!d.take("arrive")) d.refuse("cp.async.mbarrier.arrive is expected");
  d.inst.async = true;
  d.inst.sub = d.take("noinc");
  if (!d.take_one({"shared", "shared::cta"}).empty()) d.inst.space = Space::shared;
  if (!d.take("b64")) d.refuse("mbarriers are of b64");
  d.expect(1);
  d.inst.run = arrive_after_copies;
  d.address(d.operand(0));
}

const OpcodeList mbarrier_opcodes = {{"mbarrier", decode_mbarrier}};

}  // namespace vgpu
