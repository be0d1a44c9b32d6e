#include "vgpu/runtime/accounts.h"

#include <algorithm>

namespace vgpu {
namespace {

bool same(Dim3 a, Dim3 b) { return a.x == b.x && a.y == b.y && a.z == b.z; }

}  // namespace

Account& Accounts::find(const std::string& name, Dim3 grid, Dim3 block, size_t dynamic_shared) {
  for (Account& account : accounts_) {
    if (account.name == name && same(account.grid, grid) && same(account.block, block) &&
        account.dynamic_shared == dynamic_shared) {
      return account;
    }
  }
  Account& account = accounts_.emplace_back();
  account.name = name;
  account.grid = grid;
  account.block = block;
  account.dynamic_shared = dynamic_shared;
  return account;
}

void add_counts(KernelCounts& sum, const KernelCounts& launch) {
  if (sum.launches == 0) {
    sum = launch;
    std::ranges::stable_sort(sum.instructions, {}, &InstructionCounts::ptx_line);
    return;
  }
  sum.launches += launch.launches;
  sum.blocks += launch.blocks;
  sum.threads += launch.threads;
  sum.unique_read_bytes += launch.unique_read_bytes;
  sum.unique_written_bytes += launch.unique_written_bytes;
  sum.total += launch.total;
  // Each list holds what was executed, so either may lack what the other has.
  for (const InstructionCounts& instruction : launch.instructions) {
    auto found = std::ranges::lower_bound(sum.instructions, instruction.ptx_line, {}, &InstructionCounts::ptx_line);
    if (found == sum.instructions.end() || found->ptx_line != instruction.ptx_line) {
      sum.instructions.insert(found, instruction);
    } else {
      found->counts += instruction.counts;
    }
  }
}

}  // namespace vgpu
