#include "vgpu/mbarrier.h"

#include <fmt/format.h>

#include "vgpu/async.h"

namespace vgpu {

void Mbarriers::clear() {
  objects_.clear();
  live_.clear();
  ended_ = 0;
}

Mbarrier& Mbarriers::init(Warp& w, const Inst& in, int lane, u32 address, u32 count) {
  if (count == 0 || count > Mbarrier::most_arrivals)
    fault(w, in, lane, "mbarrier",
          fmt::format("an expected count of {}, not of 1 to {}", count, Mbarrier::most_arrivals));
  if (const auto it = live_.find(address); it != live_.end()) {
    const Mbarrier& old = objects_[it->second];
    fault(w, in, lane, "mbarrier", "init of an mbarrier that is in use: mbarrier.inval must come first",
          fmt::format("init    {}", describe_place(w, w.block->linear, old.init_thread, inst_index(w, *old.init))));
  }
  if (objects_.size() >= 1024) fault(w, in, lane, "mbarrier", "more than 1,024 mbarriers in a block are not supported");
  Mbarrier& b = objects_.emplace_back();
  b.address = address;
  b.number = static_cast<u32>(objects_.size() - 1);
  b.expected = b.pending = count;
  b.init_warp = w.index;
  b.init_clock = w.clock;
  b.init = &in;
  b.init_thread = w.index * warp_size + static_cast<u32>(lane);
  live_[address] = b.number;
  return b;
}

void Mbarriers::invalidate(Warp& w, const Inst& in, int lane, u32 address) {
  at(w, in, lane, address);
  live_.erase(address);
}

Mbarrier& Mbarriers::at(const Warp& w, const Inst& in, int lane, u32 address) {
  const auto it = live_.find(address);
  if (it == live_.end())
    fault(w, in, lane, "mbarrier", fmt::format("no mbarrier was initialised at shared memory + {}", address));
  Mbarrier& b = objects_[it->second];
  if (w.block->race && b.init_warp != w.index && b.init_clock >= w.seen[b.init_warp])
    fault(w, in, lane, "mbarrier", "nothing orders this after the mbarrier's init",
          fmt::format("init    {}\nmemory: {}",
                      describe_place(w, w.block->linear, b.init_thread, inst_index(w, *b.init)), describe(b)));
  return b;
}

void Mbarriers::expect(const Warp& w, const Inst& in, int lane, Mbarrier& b, i64 bytes) {
  if (b.bytes + bytes > Mbarrier::most_bytes)
    fault(w, in, lane, "mbarrier",
          fmt::format("{} more bytes are expected than the tx-count can hold ({})", bytes, Mbarrier::most_bytes),
          describe(b));
  b.bytes += bytes;
  settle(b);
}

void Mbarriers::arrive(const Warp& w, const Inst& in, int lane, Mbarrier& b, u32 count) {
  if (count == 0 || count > b.pending)
    fault(w, in, lane, "mbarrier", fmt::format("{} arrivals where {} are pending", count, b.pending), describe(b));
  b.pending -= count;
  settle(b);
}

void Mbarriers::complete_bytes(const Warp& w, const Inst& in, int lane, Mbarrier& b, i64 bytes) {
  if (b.bytes - bytes < -Mbarrier::most_bytes)
    fault(w, in, lane, "mbarrier", fmt::format("{} bytes more than were expected have come", bytes - b.bytes),
          describe(b));
  b.bytes -= bytes;
  settle(b);
}

void Mbarriers::settle(Mbarrier& b) {
  if (b.pending || b.bytes) return;
  b.completed.join(b.arriving);
  b.arriving.clear();
  b.phase++;
  b.pending = b.expected;
  std::vector<u32>& phases = b.completed.proxy.phases;
  if (phases.size() <= b.number) phases.resize(b.number + 1);
  phases[b.number] = static_cast<u32>(b.phase);
  ended_++;
}

void Mbarriers::fence_inits(const Warp& w) {
  for (Mbarrier& b : objects_)
    if (b.init_warp == w.index) b.init_fenced = true;
}

std::string describe(const Mbarrier& b) {
  return fmt::format("mbarrier at shared memory + {}: phase {}, {} of {} arrivals and {} bytes pending", b.address,
                     b.phase, b.pending, b.expected, b.bytes);
}

}  // namespace vgpu
