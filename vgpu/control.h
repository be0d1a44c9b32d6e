// What barrier instructions do, as decoded by ops_control.cc and run by barrier.cc.
#pragma once

#include "vgpu/types.h"

namespace vgpu {

enum class BarrierKind : u16 { sync, arrive, popc, all, any };  // popc and later reduce a predicate over the block

}  // namespace vgpu
