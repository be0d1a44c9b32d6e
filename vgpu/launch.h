// A launch while it runs: shared by the cores that work on its blocks.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "vgpu/machine.h"
#include "vgpu/region.h"
#include "vgpu/warp.h"

namespace vgpu {

// Blocks that executed a device-wide fence and then an atomic (or volatile) access of one address, in this order.
struct Handover {
  std::unordered_map<u32, u32> place;  // of each block
};

class LaunchState {
 public:
  const Launch* launch = nullptr;
  const Kernel* kernel = nullptr;
  const Program* program = nullptr;
  const Options* options = nullptr;
  Memory* memory = nullptr;
  u32 shared_bytes = 0;
  const u64 id = new_id();      // of all launches of the process
  u64 serial = 0;               // counts launches; tells stale shadow pages from live ones
  std::vector<u32> order;       // blocks in order of execution; empty: as they are numbered
  std::vector<u32> warp_order;  // likewise for the warps of a block
  std::atomic<u64> next{0};     // position of the next block to hand out
  std::atomic<bool> failed{false};

  // Positions below `finished` have ended. What depends on the order of blocks (atomics, volatile accesses) waits for
  // that, so that the result does not depend on the number of cores.
  std::mutex mutex;
  std::condition_variable progress;
  u64 finished = 0;
  std::vector<bool> ended;
  std::map<u64, std::string> outputs;  // of blocks that printed, by position
  std::exception_ptr error;

  // The last-block idiom: what a block wrote before its fence is ordered before whoever touches the same atomic later.
  void hand_over(Block& block, u64 address);
  bool taken_over(const Block& block, u64 other_block, bool every_block);
  std::unordered_map<u64, Handover> handovers;

  // Findings that are not errors: kind and text; the machine shows each pair of places once.
  bool warned(const std::string& kind, u32 a, u32 b);
  void warn(const std::string& kind, u32 a, u32 b, std::string text);
  struct Warning {
    std::string kind, text;
    u32 a, b;
  };
  std::vector<Warning> warnings;

 private:
  static u64 new_id() {
    static std::atomic<u64> last{0};
    return ++last;
  }
};

// Thrown on the other cores when one has failed.
struct Stopped {};

void wait_for_earlier_blocks(Block& block);

// Runs a ready warp until it waits or ends, or gives way to the others.
using WarpRunner = void (*)(Warp&);
WarpRunner warp_runner(const Block& block);

// Runs the blocks that are left, one after another; called once per core.
void run_blocks(LaunchState& launch, Block& block);
void set_up_block(LaunchState& launch, Block& block, Counts* counts);

// "kernel softmax(float*, int)  grid (4,1,1) block (128,1,1)  stream 2"
std::string describe_launch(const LaunchState& launch);

}  // namespace vgpu
