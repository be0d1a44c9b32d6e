// Runs a warp: groups of lanes by lowest pc.
#include <algorithm>

#include <fmt/format.h>

#include "vgpu/async.h"
#include "vgpu/barrier.h"
#include "vgpu/launch.h"

namespace vgpu {
namespace {

// A warp gives way to the others after so many instructions, so that one which spins on another's flag cannot hang the
// block.
constexpr u64 time_slice = 200000;

void merge_group(Warp& w, u32 pc, u32 mask) {
  for (u32 i = 0; i < w.group_count; i++)
    if (w.groups[i].pc == pc) {
      w.groups[i].mask |= mask;
      w.groups[i].blocked = w.groups[i].stalled = false;
      return;
    }
  w.groups[w.group_count++] = {pc, mask};
}

void remove_group(Warp& w, u32 i) { w.groups[i] = w.groups[--w.group_count]; }

// Group gi, which has come to pc after waiting in vain at `in`, lets others go first.
void stall_group(Warp& w, u32 gi, u32 pc, u32 mask, const Inst& in) {
  remove_group(w, gi);
  merge_group(w, pc, mask);
  for (u32 i = 0; i < w.group_count; i++)
    if (w.groups[i].pc == pc) w.groups[i].stalled = true;
  w.stalled_at = &in;
}

// Exits and arrivals may be what blocked groups wait for.
void unblock_groups(Warp& w) {
  for (u32 i = 0; i < w.group_count; i++) w.groups[i].blocked = false;
}

[[noreturn]] void report_stuck_lanes(Warp& w) {
  const Program& p = *w.block->program;
  const Group& g = w.groups[0];
  const Inst& in = p.code[g.pc];
  std::string others;
  for (u32 i = 1; i < std::min(w.group_count, 5u); i++)
    others += fmt::format("{}lanes {:#010x}  {}", others.empty() ? "" : "\n", w.groups[i].mask,
                          describe_source(p, w.groups[i].pc));
  if (w.group_count > 5) others += fmt::format("\n(and {} more groups of lanes)", w.group_count - 5);
  if (in.control == Control::barrier || p.code[w.groups[w.group_count - 1].pc].control == Control::barrier)
    fault(w, in, first_lane(g.mask), "barrier",
          fmt::format("lanes {:#010x} of a warp are at a barrier that its other live lanes ({:#010x}) do not come to",
                      g.mask, w.live & ~g.mask),
          others);
  const u32 named = in.all_lanes ? w.live : w.lanes<u32>(in.a)[first_lane(g.mask)];
  fault(w, in, first_lane(g.mask), "shuffle mask",
        fmt::format("the mask {:#010x} names lanes that do not come here: only {:#010x} did ({:#010x} are live)", named,
                    g.mask, w.live),
        others);
}

// Lanes that have nothing left but to exit (an early return whose ret lies further on) are gone before others wait for
// them.
bool retire_leaving_lanes(Warp& w) {
  const Inst* code = w.block->program->code.data();
  bool any = false;
  for (u32 i = 0; i < w.group_count;) {
    u32 pc = w.groups[i].pc;
    for (int steps = 0; steps < 4 && code[pc].control == Control::branch && code[pc].guard == 0; steps++)
      pc = code[pc].target;
    if (w.groups[i].blocked || code[pc].control != Control::exit || code[pc].guard != 0) {
      i++;
      continue;
    }
    w.live &= ~w.groups[i].mask;
    remove_group(w, i);
    any = true;
  }
  return any;
}

// Group gi waits at pc with the lanes m; those of `mask` that do not take part go on.
void block_group(Warp& w, u32 gi, u32 pc, u32 m, u32 mask) {
  w.groups[gi] = {pc, m, true};
  if (mask & ~m) merge_group(w, pc + 1, mask & ~m);
  if (retire_leaving_lanes(w)) unblock_groups(w);
}

// Lanes exit that others of the warp wait for.
void check_exit(Warp& w, const Inst& in, u32 leaving) {
  const Program& p = *w.block->program;
  for (u32 i = 0; i < w.group_count; i++) {
    const Group& g = w.groups[i];
    if (!g.blocked) continue;
    const Inst& waits = p.code[g.pc];
    const u32 named =
        waits.all_lanes || waits.control == Control::barrier ? full_mask : w.lanes<u32>(waits.a)[first_lane(g.mask)];
    if (!(named & leaving)) continue;
    const bool barrier = waits.control == Control::barrier;
    fault(
        w, waits, first_lane(g.mask), barrier ? "barrier" : "shuffle mask",
        fmt::format("lanes {:#010x} wait here for lanes {:#010x}, which exit without coming", g.mask, leaving & named),
        fmt::format("exit    {}", describe_source(p, inst_index(w, in))));
  }
}

// The lane masks that the lanes of a converging instruction wait for; 0 once all are there.
u32 missing_lanes(Warp& w, const Inst& in, u32 m) {
  if (in.all_lanes) return w.live & ~m;
  const u32* masks = w.lanes<u32>(in.a);
  u32 all = 0;
  for (int l = 0; l < warp_size; l++)
    if (m >> l & 1) {
      if (!(masks[l] >> l & 1))
        fault(w, in, l, "shuffle mask",
              fmt::format("the mask {:#010x} does not name the lane itself ({})", masks[l], l));
      all |= masks[l];
    }
  return all & w.live & ~m;
}

// What a gathering instruction waits for has come: wgmma.wait_group or barrier.cluster.wait.
bool may_go_on(Warp& w, const Inst& in) {
  AsyncState& async = *w.block->async;
  return in.wgmma ? async.wgmma.can_wait(w, static_cast<u32>(in.offset)) : async.cluster.has_ended(w, in);
}

// Every group of lanes waits in vain: the other warps go first.
void stall(Warp& w) {
  w.stalled = true;
  w.stalled_since = w.block->async->progress();
  for (u32 i = 0; i < w.group_count; i++) w.groups[i].stalled = false;
}

template <bool Counting, bool Tracked>
void run(Warp& w) {
  Block& block = *w.block;
  const Program& program = *block.program;
  const Inst* code = program.code.data();
  const u64 slice_end = w.executed + time_slice;
  const u64 limit =
      block.launch->options->max_warp_instructions ? block.launch->options->max_warp_instructions : ~u64{0};
  while (w.group_count) {
    u32 gi = ~0u;
    bool stalled = false;
    for (u32 i = 0; i < w.group_count; i++) {
      stalled = stalled || w.groups[i].stalled;
      if (!w.groups[i].blocked && !w.groups[i].stalled && (gi == ~0u || w.groups[i].pc < w.groups[gi].pc)) gi = i;
    }
    if (gi == ~0u && stalled) return stall(w);
    if (gi == ~0u) report_stuck_lanes(w);
    // A group that spins below the others would starve them: after a slice without parting or joining another one has
    // its turn.
    if (w.group_count > 1 && w.executed >= w.regrouped + time_slice) {
      w.regrouped = w.executed;
      for (u32 i = 1; i < w.group_count; i++)
        if (const u32 j = (gi + i) % w.group_count; !w.groups[j].blocked && !w.groups[j].stalled) {
          gi = j;
          break;
        }
    }
    u32 next = ~0u;
    for (u32 i = 0; i < w.group_count; i++)
      if (i != gi && w.groups[i].pc > w.groups[gi].pc) next = std::min(next, w.groups[i].pc);
    u32 pc = w.groups[gi].pc, mask = w.groups[gi].mask;
    bool parted = false;
    const u64 turn_end = w.group_count > 1 ? std::min(slice_end, w.regrouped + time_slice) : slice_end;
    while (!parted) {
      const Inst& in = code[pc];
      const u32 m = mask & (w.predicates[in.guard] ^ in.guard_xor);
      w.executed++;
      if constexpr (Tracked)
        if (m) block.async->wgmma.check_registers(w, in, pc);
      if constexpr (Counting) {
        Counts& c = block.counts[pc];
        c.instructions++;
        c.lanes += static_cast<u64>(std::popcount(m));
      }
      switch (in.control) {
        case Control::straight:
          if (m) in.run(w, in, m);
          pc++;
          break;
        case Control::branch:
          if constexpr (Counting) block.counts[pc].branches++;
          if (m == mask) {
            if (in.target <= pc && w.group_count > 1) next = 0;  // back below the others: choose anew
            pc = in.target;
          } else if (m == 0) {
            pc++;
          } else {
            if constexpr (Counting) block.counts[pc].divergent++;
            w.groups[gi] = {pc + 1, mask & ~m};
            merge_group(w, in.target, m);
            unblock_groups(w);
            parted = true;
          }
          break;
        case Control::branch_table:
        case Control::ret:
        case Control::call: {
          if (m == 0) {
            pc++;
            break;
          }
          u32 target[warp_size];
          lane_targets(w, in, m, pc, target);
          remove_group(w, gi);
          if (mask & ~m) merge_group(w, pc + 1, mask & ~m);
          u32 ways = 0;
          for (u32 left = m; left; ways++) {
            const u32 to = target[first_lane(left)];
            u32 same = 0;
            for (int l = 0; l < warp_size; l++)
              if (left >> l & 1 && target[l] == to) same |= 1u << l;
            left &= ~same;
            merge_group(w, to, same);
          }
          if constexpr (Counting) {
            block.counts[pc].branches++;
            block.counts[pc].divergent += ways > 1;
          }
          unblock_groups(w);
          parted = true;
          break;
        }
        case Control::exit:
          if (m) {
            check_exit(w, in, m);
            w.live &= ~m;
            mask &= ~m;
            unblock_groups(w);
            w.groups[gi].mask = mask;
            if (!mask) {
              remove_group(w, gi);
              parted = true;
              break;
            }
          }
          pc++;
          break;
        case Control::converge:
          if (m && missing_lanes(w, in, m)) {
            // Lanes that are here but do not take part go on; those that do wait for the rest.
            block_group(w, gi, pc, m, mask);
            parted = true;
            break;
          }
          if (m) in.run(w, in, m);
          pc++;
          break;
        case Control::barrier:
          if (m == 0) {
            pc++;
          } else if (m != w.live) {
            block_group(w, gi, pc, m, mask);
            parted = true;
          } else {
            if constexpr (Counting) block.counts[pc].barriers++;
            w.groups[gi] = {pc + 1, mask};
            if (arrive_at_barrier(w, in)) return;  // waits; else it only arrived
            pc++;
          }
          break;
        case Control::gather:
          if (m && in.all_lanes && missing_lanes(w, in, m)) {
            block_group(w, gi, pc, m, mask);
            parted = true;
          } else if (m && !may_go_on(w, in)) {
            w.stalled_for = nullptr;
            stall_group(w, gi, pc, mask, in);
            parted = true;
          } else {
            if (m) in.run(w, in, m);
            pc++;
          }
          break;
        case Control::poll:
          pc++;
          if (m && wait_for_phase(w, in, m)) {
            stall_group(w, gi, pc, mask, in);
            parted = true;
          }
          break;
        case Control::trap: fault(w, in, first_lane(m ? m : mask), "trap", "the kernel executed trap");
      }
      if (!parted && (pc >= next || w.executed >= turn_end)) {
        w.groups[gi] = {pc, mask};
        break;
      }
    }
    if (parted) {
      w.regrouped = w.executed;
    } else {
      for (u32 i = 0; i < w.group_count; i++)
        if (i != gi && w.groups[i].pc == pc) {
          w.groups[i].mask |= w.groups[gi].mask;
          w.groups[i].blocked = w.groups[i].stalled = false;
          remove_group(w, gi);
          w.regrouped = w.executed;
          break;
        }
    }
    if (w.executed >= slice_end) {
      if (block.launch->failed.load(std::memory_order_relaxed)) throw Stopped{};
      if (w.executed >= limit)
        fault(w, code[w.groups[0].pc], first_lane(w.groups[0].mask), "stuck",
              fmt::format("a warp has executed {} instructions", w.executed));
      return;
    }
  }
  w.state = Warp::State::done;
  leave_barriers(w);
}

}  // namespace

WarpRunner warp_runner(const Block& block) {
  if (block.program->wgmma) return block.counts ? run<true, true> : run<false, true>;
  return block.counts ? run<true, false> : run<false, false>;
}

}  // namespace vgpu
