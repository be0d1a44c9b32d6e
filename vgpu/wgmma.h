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
  // The warp takes part in a product, whose operands must be those of the warpgroup's other warps.
  void begin(Warp& w, const Inst& in, u64 a, u64 b, bool scale);
  // Its accumulators and fragments of A (virtual registers, from Program::uses) and its share of what is read.
  void issue(Warp& w, const Inst& in, const std::vector<SharedRun>& reads);
  void commit_group(const Warp& w);
  // The products that the warp would wait for have been issued by the whole warpgroup: only then can they end.
  bool can_wait(const Warp& w, u32 keep) const;
  void wait_group(Warp& w, u32 keep);
  u64 issued() const { return issued_; }  // by all warps: changes when can_wait() may
  std::string describe_use(const Block& block, u32 address, u32 bytes) const;

 private:
  static constexpr u32 open = ~0u;
  struct Product {
    u32 serial = 0, group = open;
    const Inst* inst = nullptr;
    u64 number = 0;  // among the warp's, and so among the warpgroup's
    std::vector<u32> registers;
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
    u64 issued = 0, ended = 0;
  };
  // Of the whole warpgroup: the first warp that waits ends its reads, and the others come after that.
  struct Shared {
    const Inst* inst;
    u64 a, b;
    bool scale;
    std::vector<SharedRun> reads;
    bool read = false;
    u32 reader = 0, reader_clock = 0;
  };
  struct Group {
    u64 first = 0;  // number of the first product that is kept
    std::deque<Shared> products;
  };
  void end_reads(Warp& w, Shared& p);
  std::string describe(const Warp& w, u32 serial) const;

  std::vector<WarpState> warps_;
  std::vector<Group> groups_;
  u64 issued_ = 0;
};

}  // namespace vgpu
