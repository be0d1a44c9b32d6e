// Clusters of one block: their barrier, and addresses in the only block there is.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "vgpu/async.h"
#include "vgpu/decoder.h"

namespace vgpu {

void ClusterBarrier::begin_block(Block& block) {
  phase_ = 0;
  arrived_ = 0;
  waiting_.assign(block.warps.size(), 0);
  phases_.assign(block.warps.size(), 0);
  arriving_.clear();
  completed_.clear();
}

void ClusterBarrier::settle(const Block& block) {
  u32 live = 0;
  for (const Warp& w : block.warps)
    if (w.state != Warp::State::done) live += static_cast<u32>(std::popcount(w.live));
  if (arrived_ < live) return;
  completed_.join(arriving_);
  arriving_.clear();
  arrived_ = 0;
  phase_++;
}

void ClusterBarrier::arrive(Warp& w, const Inst& in, u32 mask, bool releases) {
  if (waiting_[w.index] & mask)
    fault(w, in, first_lane(waiting_[w.index] & mask), "barrier",
          "barrier.cluster.arrive without a wait since the last one");
  waiting_[w.index] |= mask;
  phases_[w.index] = phase_;
  arrived_ += static_cast<u32>(std::popcount(mask));
  if (releases) release(w, arriving_);
  settle(*w.block);
}

bool ClusterBarrier::has_ended(Warp& w, const Inst& in) {
  if (!waiting_[w.index]) fault(w, in, first_lane(w.live), "barrier", "barrier.cluster.wait without an arrive");
  if (phase_ == phases_[w.index]) settle(*w.block);
  return phase_ != phases_[w.index];
}

void ClusterBarrier::leave(Warp& w, u32 mask, bool acquires) {
  waiting_[w.index] &= ~mask;
  if (!acquires) return;
  acquire(w, completed_);
  w.seen[w.index] = ++w.clock;
  w.step = 0;
}

namespace {

void arrive(Warp& w, const Inst& in, u32 m) { w.block->async->cluster.arrive(w, in, m, in.strong); }
void leave(Warp& w, const Inst& in, u32 m) { w.block->async->cluster.leave(w, m, in.strong); }

// mapa: the address of shared memory in block `b` of the cluster, which is this one.
template <class T>
void map_address(Warp& w, const Inst& in, u32 m) {
  for (int l = 0; l < warp_size; l++)
    if (m >> l & 1 && w.lanes<u32>(in.b)[l] != 0)
      fault(w, in, l, "out of bounds", fmt::format("block {} of a cluster of 1", w.lanes<u32>(in.b)[l]));
  each_lane(m, [&](int l) { w.lanes<T>(in.d)[l] = w.lanes<T>(in.a)[l]; });
}

void decode_mapa(Decoder& d) {
  d.take("shared::cluster");  // without it: a generic address, which stays as it is too
  const Type t = d.take_type();
  if (t != Type::u32 && t != Type::u64) d.refuse("addresses have 32 or 64 bits");
  d.expect(3);
  d.inst.run = t == Type::u32 ? map_address<u32> : map_address<u64>;
  d.dest(&Inst::d, d.operand(0), type_bytes(t));
  d.source(&Inst::a, d.operand(1), t);
  d.source(&Inst::b, d.operand(2), Type::u32);
}

}  // namespace

void decode_cluster_barrier(Decoder& d) {
  const bool arrives = d.require_one({"arrive", "wait"}) == "arrive";
  d.inst.all_lanes = d.take("aligned");
  d.inst.strong = arrives ? d.take_one({"release", "relaxed"}) != "relaxed" : (d.take("acquire"), true);
  d.expect(0);
  d.inst.async = true;
  d.inst.run = arrives ? arrive : leave;
  d.inst.control = !arrives ? Control::gather : d.inst.all_lanes ? Control::converge : Control::straight;
}

const OpcodeList cluster_opcodes = {{"mapa", decode_mapa}};

}  // namespace vgpu
