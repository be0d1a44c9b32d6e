#pragma once

#include <string>
#include <vector>

#include "vgpu/machine.h"
#include "vgpu/runtime/bound.h"
#include "vgpu/runtime/cubin.h"
#include "vgpu/runtime/gpu.h"

namespace vgpu {

/// All launches of one kernel with one shape.
struct Account {
  std::string name;      ///< mangled, or what a library call named itself
  bool library = false;  ///< such a call: it has no grid, registers or instructions
  Dim3 grid, block;
  size_t dynamic_shared = 0;
  size_t static_shared = 0;
  uint32_t local_bytes = 0;  ///< arrays in local memory that the PTX declares, per thread
  Resources resources;
  Occupancy occupancy;
  KernelCounts counts;  ///< summed over the launches
  Bound bound;          ///< of the last launch
  double seconds = 0;   ///< the bounds of all launches, summed
};

/// What every launch cost, by kernel and shape, in the order of their first launch.
class Accounts {
 public:
  Account& find(const std::string& name, Dim3 grid, Dim3 block, size_t dynamic_shared);
  const std::vector<Account>& all() const { return accounts_; }

 private:
  std::vector<Account> accounts_;
};

/// Adds one launch's counts to what was counted before, instruction by instruction (an instruction is known by its line
/// of the PTX); those of the sum are in the order of their lines.
void add_counts(KernelCounts& sum, const KernelCounts& launch);

}  // namespace vgpu
