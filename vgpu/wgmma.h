// Warpgroup products between their issue and the wait for them. Their values are computed at once; what must not be
// touched before the wait is kept here: registers of each warp, and the shared memory that is read.
#pragma once

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "vgpu/warp.h"

namespace vgpu {

// Bytes in a row of shared memory.
struct SharedRun {
  u32 address, bytes;
};

class WarpgroupState {
 public:
  void begin_block(Block& block);

  // Before an instruction: a register that a product still uses is reported; a copy of one is as much in use.
  void check_registers(Warp& w, const Inst& in, u32 pc);
  // wgmma.fence: what has been written to registers before may be read by products.
  void fence(const Warp& w) { warps_[w.index].fences++; }
  // A product: its accumulators and fragments of A (virtual registers, from Program::uses) and what it reads.
  void issue(Warp& w, const Inst& in, std::vector<SharedRun> reads);
  // The four warps of a warpgroup must give the same: reports where they do not.
  void compare(Warp& w, const Inst& in, u64 a, u64 b, bool scale);
  void commit_group(const Warp& w);
  void wait_group(Warp& w, u32 keep);
  std::string describe_use(const Block& block, u32 address, u32 bytes) const;

 private:
  static constexpr u32 open = ~0u;
  struct Product {
    u32 serial = 0, group = open;
    const Inst* inst = nullptr;
    std::vector<u32> registers;
    std::vector<SharedRun> reads;
  };
  struct Register {
    u32 product = 0;      // serial of the product that uses it, 0: none
    bool result = false;  // it is an accumulator
    u32 written = 0;      // 1 + fences when it was last written by anything but a copy
  };
  struct WarpState {
    std::deque<Product> products;
    std::vector<Register> registers;
    u32 serial = 0, committed = 0, fences = 0;
    u64 issued = 0;
  };
  struct Issue {
    const Inst* inst;
    u64 a, b;
    bool scale;
    bool operator==(const Issue&) const = default;
  };
  struct Group {
    u64 first = 0;  // number of the first issue that is kept
    std::deque<Issue> issues;
  };
  void finish(Warp& w, Product& p);
  std::string describe(const Warp& w, u32 serial) const;

  std::vector<WarpState> warps_;
  std::vector<Group> groups_;
};

}  // namespace vgpu
