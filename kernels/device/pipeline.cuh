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
  // A group is committed even if it is empty, so that the count of pending groups is the same in every step.
  const auto start = [&](int step) {
    if (step < steps) load(step, step % Stages);
    copy_async_commit();
  };
  if constexpr (Stages == 1) {
    for (int step = 0; step < steps; ++step) {
      if (step > 0) __syncthreads();
      start(step);
      copy_async_wait<0>();
      __syncthreads();
      compute(step, 0);
    }
  } else {
#pragma unroll
    for (int step = 0; step < Stages - 1; ++step) start(step);
    for (int step = 0; step < steps; ++step) {
      copy_async_wait<Stages - 2>();
      // Makes this step's data visible to all, and shows that nobody still reads the stage that is written next.
      __syncthreads();
      start(step + Stages - 1);
      compute(step, step % Stages);
    }
  }
}

}  // namespace weft
