// Barriers of a block and the control flow that needs more than a branch.
#pragma once

#include "vgpu/warp.h"

namespace vgpu {

// The warp, all of whose live lanes are here, arrives. True: it waits now. Completes the barrier if it was the last.
bool arrive_at_barrier(Warp& w, const Inst& in);
// A warp has ended: barriers of the whole block do not wait for it any longer.
void leave_barriers(Warp& w);
// Every warp waits: throws the report.
[[noreturn]] void report_deadlock(Block& block);

// Where each lane of the mask goes from a call, a ret of a function or a brx.idx.
void lane_targets(Warp& w, const Inst& in, u32 mask, u32 pc, u32* target);

}  // namespace vgpu
