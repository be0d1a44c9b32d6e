// Runs a launch: hands out blocks to cores, warps of a block in turn.
#include "vgpu/launch.h"

#include <algorithm>

#include <fmt/format.h>

#include "vgpu/async.h"
#include "vgpu/barrier.h"
#include "vgpu/shadow.h"

namespace vgpu {
namespace {

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

// A stalled warp need not ask again before a phase has ended.
bool may_run(const Block& block, const Warp& w) {
  return w.state == Warp::State::ready && (!w.stalled || block.async->progress() != w.stalled_since);
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
  const WarpRunner run = warp_runner(block);
  u64 progress = 0;
  u32 in_vain = 0;
  for (;;) {
    bool ran = false, alive = false;
    for (u32 i = 0; i < block.warps.size(); i++) {
      Warp& w = block.warps[order.empty() ? i : order[i]];
      if (may_run(block, w)) {
        w.stalled = false;
        run(w);
        ran = true;
        if (!w.stalled) in_vain = 0;
      }
      alive = alive || w.state != Warp::State::done;
    }
    if (!alive) break;
    if (block.async) {
      block.async->advance_at_random(block);
      if (progress != block.async->progress()) in_vain = 0;
      progress = block.async->progress();
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
