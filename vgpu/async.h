// What goes on beside a block's threads: bulk copies, and arrivals that wait for a thread's cp.async. They happen as
// late as they may, when no warp can go on otherwise or a thread waits for them (with --schedule at drawn times), so
// that a wait which is missing shows.
#pragma once

#include <deque>
#include <random>
#include <string>
#include <vector>

#include "vgpu/mbarrier.h"
#include "vgpu/order.h"
#include "vgpu/tensor_map.h"
#include "vgpu/warp.h"
#include "vgpu/wgmma.h"

namespace vgpu {

// cp.async.bulk and cp.async.bulk.tensor, from its instruction until its data has arrived.
struct BulkCopy {
  static constexpr u32 open = ~0u;  // not committed yet
  bool to_shared = false, tensor = false;
  u64 global = 0;
  TensorMap map;
  i32 coordinates[TensorMap::most_dimensions] = {};
  u32 shared = 0, bytes = 0;
  u32 mbarrier = 0;          // number; of copies to shared memory
  u32 group = open;          // of copies to global memory
  std::vector<u8> data;      // of copies to global memory, once their source has been read
  bool source_read = false;  // `data` is filled
  Warp* warp = nullptr;
  int lane = 0;
  const Inst* inst = nullptr;
  u32 thread() const { return warp->index * warp_size + static_cast<u32>(lane); }
};

// cp.async.mbarrier.arrive: each lane arrives once its cp.async before it have been done.
struct CopyArrival {
  Warp* warp = nullptr;
  const Inst* inst = nullptr;
  u32 mask = 0;
  u64 copies_before = 0;    // AsyncCopy::serial below this
  u32 mbarrier[warp_size];  // numbers
};

// barrier.cluster of a cluster of one block: all of its threads arrive, then wait. Threads that have exited count.
class ClusterBarrier {
 public:
  void begin_block(Block& block);
  void arrive(Warp& w, const Inst& in, u32 mask, bool releases);
  bool has_ended(Warp& w, const Inst& in);  // the phase in which the warp arrived
  void leave(Warp& w, u32 mask, bool acquires);
  u64 phase() const { return phase_; }

 private:
  void settle(const Block& block);
  u64 phase_ = 0;
  u32 arrived_ = 0;           // threads
  std::vector<u32> waiting_;  // of each warp: lanes that have arrived and not yet gone on
  std::vector<u64> phases_;   // in which they arrived
  Released arriving_, completed_;
};

class AsyncState {
 public:
  void begin_block(Block& block);
  ProxyOrder& order(const Warp& w) { return orders_[w.index]; }

  // Changes when a warp that has stalled may go on.
  u64 progress() const { return mbarriers.ended() + wgmma.issued() + cluster.phase(); }

  Mbarriers mbarriers;
  Released barriers[16];  // what has arrived at the block's barriers
  WarpgroupState wgmma;
  ClusterBarrier cluster;

  // Starts: checks what can be checked now.
  void start(BulkCopy copy);
  void start(CopyArrival arrival) { arrivals_.push_back(arrival); }
  // Bulk groups of one thread.
  void commit_group(const Warp& w, u32 mask);
  void wait_group(Warp& w, u32 mask, u32 keep, bool read_only);

  // Lets one thing happen; false: there is nothing.
  bool advance(Block& block);
  // With a drawn schedule, lets some happen early.
  void advance_at_random(Block& block);
  // The block has ended: what still uses its shared memory is reported, the rest is done.
  void end_block(Block& block);
  // The copy under way that touches these shared bytes, for reports; "" if none does.
  std::string describe_use(const Block& block, u32 address, u32 bytes) const;

 private:
  void land(Block& block, BulkCopy& copy);         // global -> shared
  void read_source(Block& block, BulkCopy& copy);  // shared -> data
  void write_global(BulkCopy& copy);
  void finish(const CopyArrival& arrival);

  std::vector<ProxyOrder> orders_;
  std::deque<BulkCopy> copies_;
  std::deque<CopyArrival> arrivals_;
  std::vector<u32> committed_;  // bulk groups of each thread
  std::mt19937_64 random_;
};

// Copies of the lanes that were started before `serial` take place (ops_async.cc).
void finish_copies(Warp& w, u32 lanes, u64 serial);

// Every warp waits, some of them at mbarriers: throws the report.
[[noreturn]] void report_hang(Block& block);

}  // namespace vgpu
