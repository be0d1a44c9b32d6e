// The state of what runs: a launch, the block that a core works on, its warps.
#pragma once

#include <bit>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "vgpu/code.h"
#include "vgpu/machine.h"

namespace vgpu {

struct Block;
struct Region;
struct Footprint;
struct Handover;
class SharedShadow;
class WarpSets;
class LaunchState;
class AsyncState;
struct Mbarrier;

// Lanes of a warp that are at the same instruction.
struct Group {
  u32 pc = 0, mask = 0;
  bool blocked = false;  // waits for other lanes to come to the same instruction
  bool stalled = false;  // has asked an mbarrier in vain: others go first
};

// A cp.async of one warp: lane l copies when its group `group[l]` is waited for.
struct AsyncCopy {
  static constexpr u32 open = ~0u;  // not committed yet
  u32 mask = 0;
  u32 group[warp_size];
  u64 to[warp_size], from[warp_size];  // shared offset, global address
  u8 from_bytes[warp_size];            // the rest of `bytes` is zero
  u8 bytes = 0;
  const Inst* inst = nullptr;
  u64 serial = 0;  // counts the warp's
};

struct Warp {
  enum class State : u8 { ready, at_barrier, done };

  Block* block = nullptr;
  u8* registers = nullptr;    // 64-byte aligned
  u32* predicates = nullptr;  // one bit a lane; number 0 is all ones
  u8* local = nullptr;        // program.local_bytes per lane
  u32 index = 0;              // in its block
  u32 live = 0;               // lanes that have not exited
  State state = State::ready;
  u32 group_count = 0;
  Group groups[warp_size];

  const Inst* barrier = nullptr;  // where it waits
  u32 barrier_id = 0;

  // The order of memory accesses: this warp's clock counts its synchronisations; accesses of warp w before clock
  // seen[w] are ordered before everything that this warp does now. `step` counts shuffles and the like since, which
  // order nothing but look as if.
  u32 clock = 1, step = 0;
  u32 seen[warp_size];

  u32 carry = 0;             // the condition code of carry chains, a bit a lane
  u32 committed[warp_size];  // cp.async groups that each lane has committed
  std::vector<AsyncCopy> copies;
  u64 copies_started = 0;

  // Every group of lanes has asked an mbarrier in vain, when so many phases of any had ended.
  bool stalled = false;
  u64 stalled_since = 0;
  const Inst* stalled_at = nullptr;
  const Mbarrier* stalled_for = nullptr;
  u32 stalled_lane = 0;
  u64 executed = 0;   // instructions, in this block
  u64 regrouped = 0;  // `executed` when groups last parted or joined

  template <class T>
  T* lanes(u32 offset) const {
    return static_cast<T*>(__builtin_assume_aligned(registers + offset, 64));
  }
};

// What one core runs; used for one block after another.
struct Block {
  Block();
  ~Block();
  LaunchState* launch = nullptr;
  const Program* program = nullptr;
  const u8* parameters = nullptr;
  u32 parameter_bytes = 0;
  std::unique_ptr<u8[]> shared_storage;
  u8* shared = nullptr;
  u32 shared_bytes = 0;
  Dim3 id;
  u64 linear = 0, position = 0;  // number of the block; its place in the order of execution
  u32 threads = 0, live_warps = 0;
  u64 noise_seed = 0;  // of --perturb
  std::vector<Warp> warps;
  std::unique_ptr<u8[]> register_storage, local_storage;
  std::vector<u32> predicate_storage;

  Counts* counts = nullptr;  // one per instruction; null: not counted
  bool race = false, uninit = false;
  std::unique_ptr<SharedShadow> shadow;  // of shared memory, where race or uninit
  std::unique_ptr<WarpSets> sets;
  std::unique_ptr<AsyncState> async;  // where the program uses the async proxy
  Region* region = nullptr;                               // the allocation touched last
  bool prefix_done = false;                               // all blocks before this one have ended
  bool fenced = false;                                    // it has executed a device-wide fence
  std::vector<std::pair<const Handover*, u32>> acquired;  // what it took over, up to which place of the list
  std::string output;                                     // of printf
  u32 local_stride = 0;                                   // bytes of local memory a lane
  std::vector<Footprint*> footprints;                     // pages that this core was the first to touch

  // Arrivals at the 16 named barriers.
  struct Barrier {
    u32 warps = 0, waiting = 0;   // masks of warps that have arrived; that wait
    u32 threads = 0;              // expected; 0: the whole block
    const Inst* first = nullptr;  // the first arrival's instruction
    u32 first_warp = 0;
    u32 seen[warp_size] = {};         // joined clocks: what is ordered before the barrier's end
    u32 count = 0, all = 1, any = 0;  // of bar.red
  } barriers[16];
};

inline u32 inst_index(const Warp& w, const Inst& in) { return static_cast<u32>(&in - w.block->program->code.data()); }

// Runs f for the lanes of the mask. The full warp's loop has a constant trip count and vectorises.
template <class F>
[[gnu::always_inline]] inline void each_lane(u32 mask, F f) {
  if (mask == full_mask) {
#pragma GCC ivdep
    for (int l = 0; l < warp_size; l++) f(l);
  } else {
#pragma GCC ivdep
    for (int l = 0; l < warp_size; l++)
      if (mask >> l & 1) f(l);
  }
}

inline int first_lane(u32 mask) { return std::countr_zero(mask); }

// Throws Fault. `lane` < 0: the whole warp. Extra lines are indented under the place.
[[noreturn]] void fault(const Warp& w, const Inst& in, int lane, std::string kind, std::string what,
                        std::string extra = "");
// "block (1,0,0) thread (5,0,0)  file.cu:12  add.f32 ..." of a thread of this launch.
std::string describe_place(const Warp& w, u64 block_linear, u32 thread, u32 inst);
std::string describe_source(const Program& p, u32 inst);

}  // namespace vgpu
