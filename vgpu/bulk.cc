// Bulk copies and what else happens beside the threads.
#include <fmt/format.h>

#include <algorithm>

#include "vgpu/access.h"
#include "vgpu/async.h"
#include "vgpu/launch.h"
#include "vgpu/shadow.h"

namespace vgpu {
namespace {

// The pieces of global and shared memory that a copy moves; what a tensor's row lacks has no address.
struct Piece {
  u64 global = 0;
  u32 shared = 0, bytes = 0;  // before swizzling, from its first byte on
};

template <class F>
void each_row(const BulkCopy& c, F f) {
  if (!c.tensor) {
    f(Piece{c.global, 0, c.bytes});
    return;
  }
  const u32 rows = c.map.rows();
  for (u32 i = 0; i < rows; i++) {
    const TensorMap::Row row = c.map.row(c.coordinates, i);
    if (row.bytes) f(Piece{row.address, i * c.map.row_bytes() + row.skip, row.bytes});
  }
}

u32 swizzle_of(const BulkCopy& c) { return c.tensor ? c.map.swizzle_bytes : 0; }

// Moves bytes [from, from + n) of the box, counted before swizzling, between shared memory and `data`.
template <bool ToShared>
void move_box(u8* shared, const BulkCopy& c, u32 from, u32 n, u8* data) {
  const u32 swizzle = swizzle_of(c);
  for (u32 done = 0; done < n;) {
    const u32 address = c.shared + from + done, step = swizzle ? std::min(n - done, 16 - address % 16) : n;
    u8* at = shared + swizzled(address, swizzle);
    ToShared ? std::memcpy(at, data + done, step) : std::memcpy(data + done, at, step);
    done += step;
  }
}

std::string describe(const BulkCopy& c) {
  return fmt::format("copy    {}",
                     describe_place(*c.warp, c.warp->block->linear, c.thread(), inst_index(*c.warp, *c.inst)));
}

bool under_way(const BulkCopy& c) { return c.to_shared || !c.source_read; }

}  // namespace

void AsyncState::begin_block(Block& block) {
  mbarriers.clear();
  for (Released& r : barriers) r.clear();
  orders_.assign(block.warps.size(), {});
  cluster.begin_block(block);
  copies_.clear();
  arrivals_.clear();
  committed_.assign(block.warps.size() * warp_size, 0);
  if (block.program->wgmma) wgmma.begin_block(block);
  random_.seed(block.launch->options->schedule * 0x9e3779b97f4a7c15ull + block.linear);
}

void AsyncState::start(BulkCopy c) {
  Warp& w = *c.warp;
  Block& block = *w.block;
  each_row(c, [&](const Piece& p) {
    if (c.to_shared) touch_global(w, *c.inst, c.lane, p.global, p.bytes, AccessKind::read);
  });
  if (block.shadow) {
    c.to_shared ? block.shadow->begin_async_write(w, *c.inst, c.lane, c.shared, c.bytes)
                : block.shadow->begin_async_read(w, *c.inst, c.lane, c.shared, c.bytes);
  }
  if (block.counts) count_bulk(block.counts[inst_index(w, *c.inst)], c.bytes);
  copies_.push_back(std::move(c));
}

void AsyncState::commit_group(const Warp& w, u32 mask) {
  for (BulkCopy& c : copies_)
    if (!c.to_shared && c.warp == &w && mask >> c.lane & 1 && c.group == BulkCopy::open)
      c.group = committed_[c.thread()];
  for (u32 l = 0; l < warp_size; l++)
    if (mask >> l & 1) committed_[w.index * warp_size + l]++;
}

void AsyncState::wait_group(Warp& w, u32 mask, u32 keep, bool read_only) {
  for (BulkCopy& c : copies_) {
    if (c.to_shared || c.warp != &w || !(mask >> c.lane & 1) || c.group == BulkCopy::open) continue;
    if (u64{c.group} + keep >= committed_[c.thread()]) continue;
    if (!c.source_read) read_source(*w.block, c);
    if (!read_only) write_global(c);
  }
  if (!read_only) std::erase_if(copies_, [](const BulkCopy& c) { return !c.warp; });
}

bool AsyncState::advance(Block& block) {
  const auto copy = std::find_if(copies_.begin(), copies_.end(), [](const BulkCopy& c) { return c.to_shared; });
  if (copy != copies_.end()) {
    land(block, *copy);
    copies_.erase(copy);
    return true;
  }
  if (arrivals_.empty()) return false;
  const CopyArrival arrival = arrivals_.front();
  arrivals_.pop_front();
  finish(arrival);
  return true;
}

void AsyncState::advance_at_random(Block& block) {
  if (block.launch->options->schedule == 0 || copies_.empty() || random_() % 2) return;
  const auto at = copies_.begin() + static_cast<i64>(random_() % copies_.size());
  if (at->to_shared) {
    land(block, *at);
    copies_.erase(at);
  } else if (!at->source_read) {
    read_source(block, *at);
  }
}

void AsyncState::land(Block& block, BulkCopy& c) {
  std::vector<u8> zeros;
  if (c.tensor) {
    zeros.resize(c.bytes);
    move_box<true>(block.shared, c, 0, c.bytes, zeros.data());
  }
  each_row(
      c, [&](const Piece& p) { move_box<true>(block.shared, c, p.shared, p.bytes, reinterpret_cast<u8*>(p.global)); });
  Mbarrier& b = mbarriers.numbered(c.mbarrier);
  if (block.shadow) block.shadow->end_async_write(*c.warp, *c.inst, c.shared, c.bytes, b.number, b.phase);
  mbarriers.complete_bytes(*c.warp, *c.inst, c.lane, b, c.bytes);
}

void AsyncState::read_source(Block& block, BulkCopy& c) {
  c.data.resize(c.bytes);
  move_box<false>(block.shared, c, 0, c.bytes, c.data.data());
  if (block.shadow) block.shadow->end_async_read(*c.warp, *c.inst, c.lane, c.shared, c.bytes);
  c.source_read = true;
}

void AsyncState::write_global(BulkCopy& c) {
  each_row(c, [&](const Piece& p) {
    touch_global(*c.warp, *c.inst, c.lane, p.global, p.bytes, AccessKind::write);
    std::memcpy(reinterpret_cast<u8*>(p.global), c.data.data() + p.shared, p.bytes);
  });
  c.warp = nullptr;
}

void AsyncState::finish(const CopyArrival& a) {
  finish_copies(*a.warp, a.mask, a.copies_before);
  for (int l = 0; l < warp_size; l++)
    if (a.mask >> l & 1) release(*a.warp, mbarriers.numbered(a.mbarrier[l]).arriving);
  for (int l = 0; l < warp_size; l++)
    if (a.mask >> l & 1) mbarriers.arrive(*a.warp, *a.inst, l, mbarriers.numbered(a.mbarrier[l]), 1);
}

void AsyncState::end_block(Block& block) {
  while (!arrivals_.empty()) advance(block);
  for (BulkCopy& c : copies_) {
    if (under_way(c))
      fault(*c.warp, *c.inst, c.lane, "async proxy",
            fmt::format("the block ends while this copy still {} its shared memory: nothing waits for it",
                        c.to_shared ? "writes to" : "reads from"));
    write_global(c);
  }
  copies_.clear();
}

std::string AsyncState::describe_use(const Block& block, u32 address, u32 bytes) const {
  for (const BulkCopy& c : copies_)
    if (under_way(c) && c.shared < address + bytes && address < c.shared + c.bytes) return describe(c);
  return wgmma.describe_use(block, address, bytes);
}

void report_hang(Block& block) {
  std::string others;
  Warp* first = nullptr;
  for (Warp& w : block.warps) {
    if (w.state == Warp::State::done) continue;
    std::string line;
    if (w.state == Warp::State::at_barrier) {
      line = fmt::format("barrier {}  {}", w.barrier_id, describe_source(*block.program, inst_index(w, *w.barrier)));
    } else {
      if (!first) first = &w;
      line = fmt::format("{}\n    {}",
                         describe_place(w, block.linear, w.index * warp_size + (w.stalled_for ? w.stalled_lane : 0),
                                        inst_index(w, *w.stalled_at)),
                         w.stalled_for ? describe(*w.stalled_for) : "for other warps");
    }
    others += fmt::format("{}warp {} waits: {}", others.empty() ? "" : "\n", w.index, line);
  }
  fault(*first, *first->stalled_at, static_cast<int>(first->stalled_lane), "hang",
        "no warp of the block can go on: what they wait for does not come", others);
}

}  // namespace vgpu
