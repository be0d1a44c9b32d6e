// The one loop that overlaps copies with arithmetic.
#pragma once

#include "kernels/device/mma.cuh"

namespace weft {

/// For every step from 0 to `steps`: load(step, stage) starts asynchronous copies into that stage of a ring of Stages,
/// Stages - 1 steps ahead; compute(step, stage) works on what has arrived. One barrier a step, two with one stage. Ends
/// without one: whoever writes the ring's memory afterwards must pass a barrier first. All threads of the block take
/// part.
template <int Stages, class Load, class Compute>
__device__ __forceinline__ void pipelined(int steps, Load&& load, Compute&& compute) {
  if constexpr (Stages == 1) {
    for (int step = 0; step < steps; ++step) {
      if (step > 0) __syncthreads();
      load(step, 0);
      copy_async_commit();
      copy_async_wait<0>();
      __syncthreads();
      compute(step, 0);
    }
  } else {
    // A group is committed even if it is empty, so that the count of pending groups is the same in every step.
#pragma unroll
    for (int step = 0; step < Stages - 1; ++step) {
      if (step < steps) load(step, step);
      copy_async_commit();
    }
    int stage = 0;
    for (int step = 0; step < steps; ++step) {
      copy_async_wait<Stages - 2>();
      // Makes this step's data visible to all, and shows that nobody still reads the stage that is written next.
      __syncthreads();
      if (step + Stages - 1 < steps) load(step + Stages - 1, stage == 0 ? Stages - 1 : stage - 1);
      copy_async_commit();
      compute(step, stage);
      stage = stage + 1 == Stages ? 0 : stage + 1;
    }
  }
}

}  // namespace weft
