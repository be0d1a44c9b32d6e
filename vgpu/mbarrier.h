// mbarrier objects of a block (PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier"). Their 64
// bits are opaque to programs: the state lies here, the shared bytes are marked so that nothing else touches them.
#pragma once

#include <deque>
#include <string>
#include <unordered_map>

#include "vgpu/order.h"
#include "vgpu/warp.h"

namespace vgpu {

struct Mbarrier {
  static constexpr u32 most_arrivals = (1u << 20) - 1;   // of the expected and pending counts
  static constexpr i64 most_bytes = (i64{1} << 20) - 1;  // of the tx-count, on both sides of 0
  u32 address = 0, number = 0;
  u32 expected = 0, pending = 0;
  i64 bytes = 0;  // that are still to come
  u64 phase = 0;  // completed so far: the number of the current one
  Released arriving, completed;
  u32 init_warp = 0, init_clock = 0;
  bool init_fenced = false;    // by fence.mbarrier_init
  const Inst* init = nullptr;  // and the thread that initialised it
  u32 init_thread = 0;
};

class Mbarriers {
 public:
  void clear();
  Mbarrier& init(Warp& w, const Inst& in, int lane, u32 address, u32 count);
  void invalidate(Warp& w, const Inst& in, int lane, u32 address);
  // The object at a shared address; a fault where there is none.
  Mbarrier& at(const Warp& w, const Inst& in, int lane, u32 address);
  Mbarrier& numbered(u32 number) { return objects_[number]; }

  void expect(const Warp& w, const Inst& in, int lane, Mbarrier& b, i64 bytes);
  void arrive(const Warp& w, const Inst& in, int lane, Mbarrier& b, u32 count);
  void complete_bytes(const Warp& w, const Inst& in, int lane, Mbarrier& b, i64 bytes);
  // Ends the phase if nothing is pending any more.
  void settle(Mbarrier& b);
  u64 ended() const { return ended_; }  // phases, of all objects: changes when a wait may succeed
  void fence_inits(const Warp& w);      // fence.mbarrier_init

 private:
  std::deque<Mbarrier> objects_;  // invalidated ones keep their number
  std::unordered_map<u32, u32> live_;
  u64 ended_ = 0;
};

// "mbarrier at shared memory + 16: phase 3, 1 of 2 arrivals and 1024 bytes pending"
std::string describe(const Mbarrier& b);

// Runs mbarrier.test_wait or try_wait for the lanes of the mask; returns those whose phase has not ended.
u32 wait_for_phase(Warp& w, const Inst& in, u32 mask);

}  // namespace vgpu
