// A kernel in the form that runs: one Inst an instruction, its operands resolved to places in a warp's register file.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "vgpu/types.h"

namespace vgpu {

struct Warp;
struct Inst;

// Executes one instruction for the lanes of `mask`, which is never 0.
using Handler = void (*)(Warp& warp, const Inst& inst, u32 mask);
struct Access;
// Moves a memory instruction's data between registers and memory; lane l's bytes lie at base + access.address[l].
using Mover = void (*)(Warp& warp, const Inst& inst, u8* base, const Access& access);

// What the warp loop itself does; everything else is `straight`.
enum class Control : u8 {
  straight,
  branch,        // to target
  branch_table,  // to list[lane's index]
  call,          // to target; the return address goes to the callee's slot d
  ret,           // to the lane's return address in slot a
  exit,
  converge,  // waits for every live lane that the mask operand `a` names (all live ones where `all_lanes`), then runs
  barrier,   // suspends the warp until the block's barrier completes
  gather,    // as converge, and waits for other warps: wgmma.wait_group, barrier.cluster.wait
  poll,      // asks an mbarrier; others go first if the answer is no
  trap
};

enum class FlopClass : u8 { none, fma, mufu, mma };

// Bytes and kinds of register: a lane array of 2, 4, 8 or 16 byte elements at an offset of the register file.
struct Inst {
  Handler run = nullptr;
  Mover move = nullptr;
  u32 guard = 0;      // predicate register; number 0 is always true
  u32 guard_xor = 0;  // all ones for @!p
  u32 d = 0, a = 0, b = 0, c = 0, e = 0;
  u32 target = 0;
  i64 offset = 0;             // of the address; other immediates
  const u32* list = nullptr;  // further operands
  u16 list_size = 0;
  u16 sub = 0;  // the operation where a handler serves several
  Control control = Control::straight;
  Space space = Space::generic;
  u8 bytes = 0;         // of one memory element
  u8 count = 1;         // elements of a vector access
  u8 wide_address = 0;  // the address register has 8 bytes, not 4
  u8 width = 0;         // bytes of the register operand
  bool all_lanes = false;
  bool ordered = false;  // its result may depend on the order of blocks
  bool fence = false;    // of the whole device
  enum class Tracking : u8 { checked, copy, own };
  Tracking tracking = Tracking::checked;  // how it treats registers that a wgmma uses
  bool wgmma = false;
  bool async = false;    // of mbarriers or the async proxy
  bool strong = false;   // volatile, relaxed, acquire, release: no data race with atomics
  FlopClass flop_class = FlopClass::none;
  u32 flops = 0;  // per lane; per warp for mma
};

// What reports and tables need to know of an instruction.
struct InstInfo {
  std::string_view text;
  int ptx_line = 0;
  int file = 0, line = 0;                // the innermost place that is not in a header of the CUDA toolkit
  int kernel_file = 0, kernel_line = 0;  // where that was inlined to, in the kernel itself
  std::string_view function;             // the PTX function that it belongs to
};

enum class Special : u8 {
  tid_x,
  tid_y,
  tid_z,
  ntid_x,
  ntid_y,
  ntid_z,
  ctaid_x,
  ctaid_y,
  ctaid_z,
  nctaid_x,
  nctaid_y,
  nctaid_z,
  laneid,
  warpid,
  nwarpid,
  smid,
  nsmid,
  lanemask_eq,
  lanemask_lt,
  lanemask_le,
  lanemask_gt,
  lanemask_ge,
  dynamic_smem_size,
  total_smem_size,
  zero,
  one
};

struct Constant {
  u32 offset = 0;
  u8 bytes = 0;
  u64 bits = 0, high = 0;
};

struct SpecialSlot {
  u32 offset = 0;
  Special what = Special::zero;
};

struct Program {
  std::string name;
  std::vector<Inst> code;
  std::vector<InstInfo> info;
  std::deque<std::vector<u32>> lists;  // deque: Inst::list points into it
  std::vector<Constant> constants;
  std::vector<SpecialSlot> specials;
  std::vector<std::pair<u32, u32>> cleared;  // registers that may be read before they are written: offset, bytes
  u32 entry = 0;
  u32 register_bytes = 0;
  u32 predicates = 1;
  u32 local_bytes = 0;  // per lane
  u32 static_shared = 0;
  bool ordered = false;  // holds an atomic whose result depends on the order of blocks, or a volatile access
  bool async = false;    // uses mbarriers or the async proxy
  bool fences = false;   // holds a device-wide fence: atomics may pass on what other blocks have written
  bool wgmma = false;    // uses registers asynchronously; only then:
  std::vector<u8> register_widths;   // bytes of each virtual register
  std::vector<u32> use_begin, uses;  // virtual registers of each instruction, twice the number plus 1 for a write
  const std::vector<std::string>* files = nullptr;
};

}  // namespace vgpu
