// Shared memory and the async proxy: bulk copies and wgmma.
#include <fmt/format.h>

#include <algorithm>

#include "vgpu/async.h"
#include "vgpu/shadow.h"

namespace vgpu {
namespace {

enum class Order { before, unfenced, none };

// Whether a write through ordinary stores comes before what the async proxy does now for the warp.
Order order_of(Warp& w, u32 warp, u32 clock, bool same_thread) {
  if (!same_thread && clock >= w.seen[warp]) return Order::none;
  return clock < w.block->async->order(w).fenced[warp] ? Order::before : Order::unfenced;
}

Order order_of_write(Warp& w, Record r) {
  if (r.spread() == Record::bulk) {
    const std::vector<u32>& phases = w.block->async->order(w).phases;
    return r.thread() < phases.size() && r.clock() < phases[r.thread()] ? Order::before : Order::none;
  }
  if (r.spread() != Record::several_warps) return order_of(w, r.warp(), r.clock(), r.warp() == w.index);
  Order worst = Order::before;
  const WarpSets::Clocks& clocks = (*w.block->sets)[r.set()];
  for (u32 v = 0; v < 32; v++)
    if (clocks[v]) worst = std::max(worst, order_of(w, v, clocks[v], v == w.index));
  return worst;
}

bool read_before(Warp& w, Record r) {
  if (r.spread() == Record::several_warps) return w.block->sets->ordered(r.set(), w);
  return r.clock() < w.seen[r.warp()] || r.warp() == w.index;
}

}  // namespace

void SharedShadow::check_readers(Warp& w, const Inst& in, int lane, u64 address, u32 bytes) const {
  for (u64 i = address / 16; i <= (address + bytes - 1) / 16; i++) {
    if (!readers_[i]) continue;
    fault(w, in, lane, "async proxy", "write of shared bytes that the async proxy may still read: nothing has waited",
          fmt::format("{}\nmemory: {}", w.block->async->describe_use(*w.block, static_cast<u32>(i * 16), 16),
                      describe_address(w, address, Space::shared)));
  }
}

void SharedShadow::check_async_state(Warp& w, const Inst& in, int lane, u32 address, u32 bytes, bool reads) const {
  for (u32 i = 0; i < bytes; i++) {
    const u8 state = state_[address + i];
    const std::string where = "memory: " + describe_address(w, address + i, Space::shared);
    const char* verb = reads ? "read" : "write";
    if (state == bulk_flight)
      fault(w, in, lane, "async proxy",
            fmt::format("{} of shared bytes that a bulk copy may still write: its mbarrier was not waited for", verb),
            fmt::format("{}\n{}", w.block->async->describe_use(*w.block, address + i, 1), where));
    if (state == mbarrier) fault(w, in, lane, "mbarrier", fmt::format("{} of the bytes of an mbarrier", verb), where);
    if (state == in_flight)
      fault(w, in, lane, "cp.async",
            fmt::format("{} of shared bytes that a cp.async still copies: no wait_group of the thread that started it "
                        "has covered it",
                        verb),
            where);
    if (reads && w.block->uninit && state != written)
      fault(
          w, in, lane, "uninitialised read",
          fmt::format("byte {} of {} at {} was never written", i, bytes, describe_address(w, address, Space::shared)));
  }
}

void SharedShadow::check_async_order(Warp& w, const Inst& in, int lane, u32 address, u32 bytes, bool reads) {
  const char* verb = reads ? "read" : "write";
  const auto report = [&](Record other, const char* other_verb, u32 at, Order order) {
    const bool bulk = other.spread() == Record::bulk;
    const u32 thread = bulk || other.spread() == Record::several_warps ? 0 : other.thread();
    const std::string place = bulk ? describe_source(*w.block->program, other.inst())
                                   : describe_place(w, w.block->linear, thread, other.inst());
    fault(w, in, lane, "async proxy",
          order == Order::unfenced
              ? fmt::format("{} by the async proxy after an ordinary {} of the same bytes without a fence.proxy.async",
                            verb, other_verb)
              : fmt::format("{} by the async proxy after a {} of the same bytes with nothing between that orders them",
                            verb, other_verb),
          fmt::format("{:<7} {}\nmemory: {}", other_verb, place, describe_address(w, at, Space::shared)));
  };
  const u32 from = address >> shift_, to = (address + bytes - 1) >> shift_;
  u64 good_write = 0, good_read = 0;  // neighbours mostly have the same records
  for (u32 i = from; i <= to; i++) {
    const Cell& c = cells_[i];
    if (c.write.valid() && c.write.bits != good_write) {
      const Order order = order_of_write(w, c.write);
      if (order != Order::before)
        report(c.write, c.write.spread() == Record::bulk ? "bulk copy" : "write", i << shift_, order);
      good_write = c.write.bits;
    }
    if (!reads && c.read.valid() && c.read.bits != good_read) {
      if (!read_before(w, c.read)) report(c.read, "read", i << shift_, Order::none);
      good_read = c.read.bits;
    }
  }
}

void SharedShadow::begin_async_read(Warp& w, const Inst& in, int lane, u32 address, u32 bytes) {
  if (readers_.empty()) readers_.resize(bytes_ / 16 + 2);
  if (!std::all_of(&state_[address], &state_[address] + bytes, [](u8 s) { return s == written; }))
    check_async_state(w, in, lane, address, bytes, true);
  if (w.block->race) check_async_order(w, in, lane, address, bytes, true);
  for (u32 i = address / 16; i <= (address + bytes - 1) / 16; i++) readers_[i]++;
  reading_ += (address + bytes - 1) / 16 - address / 16 + 1;
}

void SharedShadow::end_async_read(Warp& w, const Inst& in, int lane, u32 address, u32 bytes) {
  for (u32 i = address / 16; i <= (address + bytes - 1) / 16; i++) readers_[i]--;
  reading_ -= (address + bytes - 1) / 16 - address / 16 + 1;
  if (!w.block->race) return;
  Access a;
  a.mask = 1u << lane;
  a.bytes = bytes;
  a.space = Space::shared;
  RaceCheck check(w, in, a, AccessKind::read);
  const Record mine = check.mine(lane);
  for (u32 i = address >> shift_; i <= (address + bytes - 1) >> shift_; i++) check.add_read(cells_[i], mine, lane);
}

void SharedShadow::begin_async_write(Warp& w, const Inst& in, int lane, u32 address, u32 bytes) {
  copies_ = true;
  check_async_state(w, in, lane, address, bytes, false);
  if (reading_) check_readers(w, in, lane, address, bytes);
  if (w.block->race) check_async_order(w, in, lane, address, bytes, false);
  std::fill_n(state_.begin() + address, bytes, bulk_flight);
}

void SharedShadow::end_async_write(Warp& w, const Inst& in, u32 address, u32 bytes, u32 number, u64 phase) {
  std::fill_n(state_.begin() + address, bytes, written);
  if (!w.block->race) return;
  const Record mine = Record::make_bulk(number, static_cast<u32>(phase), inst_index(w, in));
  for (u32 i = address >> shift_; i <= (address + bytes - 1) >> shift_; i++) cells_[i] = {mine, {}};
}

void SharedShadow::set_mbarrier(Warp& w, const Inst& in, int lane, u32 address, bool valid) {
  if (!valid) {
    std::fill_n(state_.begin() + address, 8, unwritten);
    return;
  }
  copies_ = true;
  check_async_state(w, in, lane, address, 8, false);
  std::fill_n(state_.begin() + address, 8, mbarrier);
}

}  // namespace vgpu
