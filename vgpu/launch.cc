// Runs a launch: hands out blocks to cores, warps of a block in turn, groups of lanes of a warp by lowest pc.
#include "vgpu/launch.h"

#include <algorithm>

#include <fmt/format.h>

#include "vgpu/async.h"
#include "vgpu/barrier.h"
#include "vgpu/shadow.h"

namespace vgpu {
namespace {

// A warp gives way to the others after so many instructions, so that one which spins on another's flag cannot hang the
// block.
constexpr u64 time_slice = 200000;

void fill_special(const Block& block, Warp& w, const SpecialSlot& slot) {
  u32* r = w.lanes<u32>(slot.offset);
  const Dim3 &grid = block.launch->launch->grid, &dim = block.launch->launch->block;
  for (u32 l = 0; l < warp_size; l++) {
    const u32 t = w.index * warp_size + l;
    switch (slot.what) {
      case Special::tid_x: r[l] = t % dim.x; break;
      case Special::tid_y: r[l] = t / dim.x % dim.y; break;
      case Special::tid_z: r[l] = t / (dim.x * dim.y); break;
      case Special::ntid_x: r[l] = dim.x; break;
      case Special::ntid_y: r[l] = dim.y; break;
      case Special::ntid_z: r[l] = dim.z; break;
      case Special::ctaid_x: r[l] = block.id.x; break;
      case Special::ctaid_y: r[l] = block.id.y; break;
      case Special::ctaid_z: r[l] = block.id.z; break;
      case Special::nctaid_x: r[l] = grid.x; break;
      case Special::nctaid_y: r[l] = grid.y; break;
      case Special::nctaid_z: r[l] = grid.z; break;
      case Special::laneid: r[l] = l; break;
      case Special::warpid: r[l] = w.index; break;
      case Special::nwarpid: r[l] = static_cast<u32>(block.warps.size()); break;
      case Special::smid: r[l] = static_cast<u32>(block.linear % block.launch->options->sm_count); break;
      case Special::nsmid: r[l] = block.launch->options->sm_count; break;
      case Special::lanemask_eq: r[l] = 1u << l; break;
      case Special::lanemask_lt: r[l] = (1u << l) - 1; break;
      case Special::lanemask_le: r[l] = static_cast<u32>((u64{2} << l) - 1); break;
      case Special::lanemask_gt: r[l] = ~static_cast<u32>((u64{2} << l) - 1); break;
      case Special::lanemask_ge: r[l] = ~((1u << l) - 1); break;
      case Special::dynamic_smem_size: r[l] = static_cast<u32>(block.launch->launch->dynamic_shared); break;
      case Special::total_smem_size: r[l] = block.shared_bytes; break;
      case Special::zero: r[l] = 0; break;
      case Special::one: r[l] = 1; break;
    }
  }
}

bool is_per_block(Special s) {
  return s == Special::ctaid_x || s == Special::ctaid_y || s == Special::ctaid_z || s == Special::smid;
}

void fill_constants(const Program& program, Warp& w) {
  for (const Constant& c : program.constants)
    for (int l = 0; l < warp_size; l++)
      std::memcpy(w.registers + c.offset + static_cast<u32>(l) * c.bytes, &c.bits, std::min<size_t>(c.bytes, 8));
}

void begin_block(Block& block) {
  if (block.shared_bytes) std::memset(block.shared, 0xff, block.shared_bytes);
  if (block.shadow) {
    block.shadow->reset(block.race);
    block.sets->clear();
  }
  if (block.async) block.async->begin_block(block);
  block.live_warps = static_cast<u32>(block.warps.size());
  for (Block::Barrier& b : block.barriers) b = {};
  for (Warp& w : block.warps) {
    const u32 first = w.index * warp_size, n = std::min<u32>(warp_size, block.threads - first);
    w.live = n == warp_size ? full_mask : (1u << n) - 1;
    w.state = Warp::State::ready;
    w.group_count = 1;
    w.groups[0] = {block.program->entry, w.live};
    w.clock = 1;
    w.step = w.carry = 0;
    std::fill(std::begin(w.seen), std::end(w.seen), 0);
    w.seen[w.index] = 1;
    std::fill(std::begin(w.committed), std::end(w.committed), 0);
    w.copies.clear();
    w.stalled = false;
    w.executed = w.regrouped = 0;
    std::fill(w.predicates + 1, w.predicates + block.program->predicates, 0);
    for (const auto& [offset, bytes] : block.program->cleared) std::memset(w.registers + offset, 0, bytes);
    for (const SpecialSlot& s : block.program->specials)
      if (is_per_block(s.what)) fill_special(block, w, s);
  }
}

void merge_group(Warp& w, u32 pc, u32 mask) {
  for (u32 i = 0; i < w.group_count; i++)
    if (w.groups[i].pc == pc) {
      w.groups[i].mask |= mask;
      w.groups[i].blocked = w.groups[i].stalled = false;
      return;
    }
  w.groups[w.group_count++] = {pc, mask};
}

void stall_group(Warp& w, u32 pc) {
  for (u32 i = 0; i < w.group_count; i++)
    if (w.groups[i].pc == pc) w.groups[i].stalled = true;
}

void remove_group(Warp& w, u32 i) { w.groups[i] = w.groups[--w.group_count]; }

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

// Every group of lanes has asked an mbarrier in vain: the other warps go first.
void stall(Warp& w) {
  w.stalled = true;
  w.stalled_since = w.block->async->mbarriers.ended();
  for (u32 i = 0; i < w.group_count; i++) w.groups[i].stalled = false;
}

template <bool Counting>
void run_warp(Warp& w) {
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
        case Control::poll:
          pc++;
          if (m && wait_for_phase(w, in, m)) {
            remove_group(w, gi);
            merge_group(w, pc, mask);
            stall_group(w, pc);
            w.stalled_at = &in;
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

// A stalled warp need not ask again before a phase has ended.
bool may_run(const Block& block, const Warp& w) {
  return w.state == Warp::State::ready && (!w.stalled || block.async->mbarriers.ended() != w.stalled_since);
}

// No warp can go on but by asking mbarriers again: something that goes on beside the threads happens, or the waits end
// without success, as those of try_wait may. True: so many times in vain that nothing will come.
bool wake_stalled(Block& block, u32& in_vain) {
  constexpr u32 patience = 10000;
  bool any = false;
  for (Warp& w : block.warps) any = any || (w.state == Warp::State::ready && w.stalled);
  if (!any) report_deadlock(block);
  if (block.async->advance(block)) return false;
  for (Warp& w : block.warps) w.stalled = false;
  return ++in_vain > patience;
}

void run_block(Block& block) {
  begin_block(block);
  const std::vector<u32>& order = block.launch->warp_order;
  u64 ended = 0;  // phases of mbarriers when a warp last went on
  u32 in_vain = 0;
  for (;;) {
    bool ran = false, alive = false;
    for (u32 i = 0; i < block.warps.size(); i++) {
      Warp& w = block.warps[order.empty() ? i : order[i]];
      if (may_run(block, w)) {
        w.stalled = false;
        block.counts ? run_warp<true>(w) : run_warp<false>(w);
        ran = true;
        if (!w.stalled) in_vain = 0;
      }
      alive = alive || w.state != Warp::State::done;
    }
    if (!alive) break;
    if (block.async) {
      block.async->advance_at_random(block);
      if (ended != block.async->mbarriers.ended()) in_vain = 0;
      ended = block.async->mbarriers.ended();
    }
    if (!ran && wake_stalled(block, in_vain)) report_hang(block);
  }
  if (block.async) block.async->end_block(block);
}

Dim3 block_id(u64 linear, const Dim3& grid) {
  return {static_cast<u32>(linear % grid.x), static_cast<u32>(linear / grid.x % grid.y),
          static_cast<u32>(linear / (u64{grid.x} * grid.y))};
}

void end_block(LaunchState& launch, Block& block) {
  const std::lock_guard lock(launch.mutex);
  if (!block.output.empty()) {
    launch.outputs[block.position] = std::move(block.output);
    block.output.clear();
  }
  launch.ended[block.position] = true;
  while (launch.finished < launch.ended.size() && launch.ended[launch.finished]) launch.finished++;
  launch.progress.notify_all();
}

}  // namespace

Block::Block() : sets(std::make_unique<WarpSets>()) {}
Block::~Block() = default;

void set_up_block(LaunchState& launch, Block& block, Counts* counts) {
  const Program& program = *launch.program;
  block.launch = &launch;
  block.program = &program;
  block.parameters = static_cast<const u8*>(launch.launch->parameters);
  block.parameter_bytes = launch.kernel->parameter_bytes;
  block.threads = static_cast<u32>(launch.launch->block.count());
  block.counts = counts;
  block.race = launch.options->checks & check_race;
  block.uninit = launch.options->checks & check_uninit;
  block.shared_bytes = launch.shared_bytes;
  block.shared_storage = std::make_unique<u8[]>(launch.shared_bytes + 1024);
  block.shared = block.shared_storage.get() + (1024 - reinterpret_cast<u64>(block.shared_storage.get()) % 1024) % 1024;
  if (program.async) block.async = std::make_unique<AsyncState>();
  if (block.race || block.uninit) block.shadow = std::make_unique<SharedShadow>(launch.shared_bytes);
  block.noise_seed = (launch.options->schedule + 1) * 0x9e3779b97f4a7c15ull;

  const u32 warps = (block.threads + warp_size - 1) / warp_size;
  const size_t register_bytes = program.register_bytes + 64;
  block.register_storage = std::make_unique<u8[]>(warps * register_bytes + 64);
  u8* registers = block.register_storage.get() + (64 - reinterpret_cast<u64>(block.register_storage.get()) % 64) % 64;
  block.local_stride = (program.local_bytes + 63) / 64 * 64;
  block.local_storage = std::make_unique<u8[]>(static_cast<size_t>(warps) * warp_size * block.local_stride + 64);
  u8* local = block.local_storage.get() + (64 - reinterpret_cast<u64>(block.local_storage.get()) % 64) % 64;
  block.predicate_storage.assign(static_cast<size_t>(warps) * program.predicates, 0);
  block.warps.resize(warps);
  for (u32 i = 0; i < warps; i++) {
    Warp& w = block.warps[i];
    w.block = &block;
    w.index = i;
    w.registers = registers + i * register_bytes;
    w.predicates = block.predicate_storage.data() + static_cast<size_t>(i) * program.predicates;
    w.predicates[0] = full_mask;
    w.local = local + static_cast<size_t>(i) * warp_size * block.local_stride;
    fill_constants(program, w);
    for (const SpecialSlot& s : program.specials) fill_special(block, w, s);
  }
}

void run_blocks(LaunchState& launch, Block& block) {
  const u64 total = launch.ended.size();
  try {
    for (;;) {
      const u64 position = launch.next.fetch_add(1);
      if (position >= total || launch.failed.load()) return;
      block.position = position;
      block.linear = launch.order.empty() ? position : launch.order[position];
      block.id = block_id(block.linear, launch.launch->grid);
      block.prefix_done = position == 0;
      block.fenced = false;
      block.acquired.clear();
      run_block(block);
      end_block(launch, block);
    }
  } catch (const Stopped&) {
  } catch (...) {
    const std::lock_guard lock(launch.mutex);
    if (!launch.failed.exchange(true)) launch.error = std::current_exception();
    launch.progress.notify_all();
  }
}

void wait_for_earlier_blocks(Block& block) {
  if (block.prefix_done) return;
  LaunchState& launch = *block.launch;
  std::unique_lock lock(launch.mutex);
  launch.progress.wait(lock, [&] { return launch.finished >= block.position || launch.failed.load(); });
  if (launch.failed.load()) throw Stopped{};
  block.prefix_done = true;
}

void LaunchState::hand_over(Block& block, u64 address) {
  const std::lock_guard lock(mutex);
  Handover& h = handovers[address];
  if (!h.place.empty()) block.acquired.push_back({&h, static_cast<u32>(h.place.size())});
  if (block.fenced) h.place.try_emplace(static_cast<u32>(block.linear), static_cast<u32>(h.place.size()));
}

// `every_block`: the record stands for several blocks, of which one is known.
bool LaunchState::taken_over(const Block& block, u64 other_block, bool every_block) {
  const std::lock_guard lock(mutex);
  for (const auto& [handover, before] : block.acquired) {
    const auto it = handover->place.find(static_cast<u32>(other_block));
    const bool known = it != handover->place.end() && it->second < before;
    if (known && (!every_block || before + 1 >= launch->grid.count())) return true;
  }
  return false;
}

bool LaunchState::warned(const std::string& kind, u32 a, u32 b) {
  const std::lock_guard lock(mutex);
  return std::any_of(warnings.begin(), warnings.end(),
                     [&](const Warning& w) { return w.a == a && w.b == b && w.kind == kind; });
}

void LaunchState::warn(const std::string& kind, u32 a, u32 b, std::string text) {
  const std::lock_guard lock(mutex);
  warnings.push_back({kind, std::move(text), a, b});
}

}  // namespace vgpu
