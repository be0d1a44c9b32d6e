#include "vgpu/barrier.h"

#include <algorithm>

#include <fmt/format.h>

#include "vgpu/async.h"
#include "vgpu/control.h"
#include "vgpu/decoder.h"

namespace vgpu {
namespace {

bool is_complete(const Block& block, const Block::Barrier& b) {
  const u32 arrived = static_cast<u32>(std::popcount(b.warps));
  return b.warps && (b.threads ? arrived * warp_size >= b.threads : arrived >= block.live_warps);
}

void write_reduction(Warp& w, const Block::Barrier& b) {
  const Inst& in = *w.barrier;
  const u32 m = w.live;
  switch (static_cast<BarrierKind>(in.sub)) {
    case BarrierKind::popc: each_lane(m, [&](int l) { w.lanes<u32>(in.d)[l] = b.count; }); break;
    case BarrierKind::all: set_predicate(w, in.d, m, b.all ? full_mask : 0); break;
    case BarrierKind::any: set_predicate(w, in.d, m, b.any ? full_mask : 0); break;
    default: break;
  }
}

// All 32 entries, used or not: two vector instructions.
void join(u32* to, const u32* from) {
  for (int v = 0; v < warp_size; v++) to[v] = std::max(to[v], from[v]);
}

// Waiting warps go on, and see everything that was done before any arrival.
void complete(Block& block, Block::Barrier& b) {
  for (Warp& w : block.warps) {
    if (!(b.waiting >> w.index & 1)) continue;
    if (block.race) join(w.seen, b.seen);
    if (block.async) acquire(w, block.async->barriers[&b - block.barriers]);
    w.clock++;
    w.step = 0;
    w.seen[w.index] = w.clock;
    if (static_cast<BarrierKind>(w.barrier->sub) != BarrierKind::sync) write_reduction(w, b);
    w.state = Warp::State::ready;
  }
  if (block.async) block.async->barriers[&b - block.barriers].clear();
  b.warps = b.waiting = b.count = b.any = 0;
  b.all = 1;
  if (block.race) std::fill(std::begin(b.seen), std::end(b.seen), 0);
}

u32 uniform(Warp& w, const Inst& in, u32 reg, const char* what) {
  const u32* r = w.lanes<u32>(reg);
  const u32 v = r[first_lane(w.live)];
  for (int l = 0; l < warp_size; l++)
    if (w.live >> l & 1 && r[l] != v)
      fault(w, in, l, "barrier", fmt::format("lanes of a warp give different {}: {} and {}", what, v, r[l]));
  return v;
}

std::string describe_warp(const Block& block, u32 warp, const Inst& in) {
  return describe_place(block.warps[warp], block.linear, warp * warp_size, inst_index(block.warps[warp], in));
}

}  // namespace

bool arrive_at_barrier(Warp& w, const Inst& in) {
  Block& block = *w.block;
  const u32 id = in.bytes ? static_cast<u32>(in.offset) : uniform(w, in, in.a, "barrier numbers");
  if (id >= 16) fault(w, in, first_lane(w.live), "barrier", fmt::format("barrier {} of 16", id));
  const bool counted = in.count == 2;
  const u32 threads = counted ? uniform(w, in, in.b, "thread counts") : 0;
  if (counted && (threads == 0 || threads % warp_size))
    fault(w, in, first_lane(w.live), "barrier", fmt::format("a thread count of {} is no multiple of 32", threads));
  Block::Barrier& b = block.barriers[id];
  if (b.warps == 0) {
    b.threads = threads;
    b.first = &in;
    b.first_warp = w.index;
  } else if (b.threads != threads) {
    fault(w, in, first_lane(w.live), "barrier",
          fmt::format("barrier {} is to gather {} threads here but {} there", id, threads, b.threads),
          "there   " + describe_warp(block, b.first_warp, *b.first));
  } else if (!counted && b.first != &in && in.all_lanes) {
    fault(w, in, first_lane(w.live), "barrier", "warps of the block have met at different barriers",
          "there   " + describe_warp(block, b.first_warp, *b.first));
  }
  if (b.warps >> w.index & 1)
    fault(w, in, first_lane(w.live), "barrier", fmt::format("the warp arrives twice at barrier {}", id));
  b.warps |= 1u << w.index;
  if (block.race) join(b.seen, w.seen);
  b.seen[w.index] = w.clock + 1;
  if (block.async) release(w, block.async->barriers[id]);
  const BarrierKind kind = static_cast<BarrierKind>(in.sub);
  if (kind >= BarrierKind::popc) {
    const u32 p = predicate(w, in.e) & w.live;
    b.count += static_cast<u32>(std::popcount(p));
    b.all = b.all && p == w.live;
    b.any = b.any || p;
  }
  if (kind == BarrierKind::arrive) {
    w.clock++;
    w.step = 0;
    w.seen[w.index] = w.clock;
  } else {
    b.waiting |= 1u << w.index;
    w.barrier = &in;
    w.barrier_id = id;
    w.state = Warp::State::at_barrier;
  }
  if (is_complete(block, b)) complete(block, b);
  return w.state == Warp::State::at_barrier;
}

void leave_barriers(Warp& w) {
  w.block->live_warps--;
  for (Block::Barrier& b : w.block->barriers)
    if (b.threads == 0 && is_complete(*w.block, b)) complete(*w.block, b);
}

void report_deadlock(Block& block) {
  std::string others;
  const Warp* first = nullptr;
  for (const Warp& w : block.warps) {
    if (w.state != Warp::State::at_barrier) continue;
    if (!first) first = &w;
    others += fmt::format("{}warp {} waits at barrier {}  {}", others.empty() ? "" : "\n", w.index, w.barrier_id,
                          describe_source(*block.program, inst_index(w, *w.barrier)));
  }
  fault(*first, *first->barrier, first_lane(first->live), "barrier",
        "no warp of the block can go on: every one waits at a barrier", others);
}

void lane_targets(Warp& w, const Inst& in, u32 m, u32 pc, u32* target) {
  switch (in.control) {
    case Control::call:
      if (in.run) in.run(w, in, m);
      each_lane(m, [&](int l) {
        w.lanes<u32>(in.d)[l] = pc + 1;
        target[l] = in.target;
      });
      break;
    case Control::ret: each_lane(m, [&](int l) { target[l] = w.lanes<u32>(in.a)[l]; }); break;
    default:
      for (int l = 0; l < warp_size; l++) {
        if (!(m >> l & 1)) continue;
        const u32 i = w.lanes<u32>(in.a)[l];
        if (i >= in.list_size)
          fault(w, in, l, "out of bounds", fmt::format("branch index {} of {} targets", i, in.list_size));
        target[l] = in.list[i];
      }
  }
}

}  // namespace vgpu
