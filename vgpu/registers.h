// Places of registers: PTX has one virtual register a value, thousands of them; those that never live at the same time
// share a place, so that a warp's registers stay in the processor's cache.
#pragma once

#include <utility>
#include <vector>

#include "vgpu/code.h"

namespace vgpu {

struct VirtualRegister {
  int bytes = 0;       // of a lane: 2, 4, 8 or 16
  bool fixed = false;  // a constant or special register: has a place of its own
};

struct RegisterUse {
  u32 inst, reg;
  bool write;
};

struct RegisterPlan {
  std::vector<u32> offsets;
  u32 bytes = 0;
  std::vector<std::pair<u32, u32>> cleared;  // offset and bytes of what may be read before it is written
};

// `uses` in order of instructions; branch targets are known.
RegisterPlan place_registers(const Program& program, const std::vector<RegisterUse>& uses,
                             const std::vector<VirtualRegister>& registers);

}  // namespace vgpu
