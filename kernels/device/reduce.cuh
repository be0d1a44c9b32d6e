// Sums and maxima over a team of threads: a warp, or a whole block. Every thread of the team must call, and every thread gets the
// result. The order is fixed, so results are the same every time.
#pragma once

#include "kernels/device/launch.cuh"

namespace weft {

inline constexpr unsigned all_lanes = 0xffffffffu;

struct Plus {
  __device__ static float identity() { return 0; }
  __device__ float operator()(float a, float b) const { return a + b; }
};
/// NaN is lost: a row with one still gives NaN where its elements are used again.
struct Maximum {
  __device__ static float identity() { return -INFINITY; }
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

/// Over the 32 lanes of a warp, by exchange: every lane ends with the same bits.
template <class Op> __device__ float warp_reduce(float v, Op op) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) v = op(v, __shfl_xor_sync(all_lanes, v, step));
  return v;
}

/// Over a block of whole warps, at most 1024 threads along x. Two barriers.
template <class Op> __device__ float block_reduce(float v, Op op) {
  __shared__ float of_warp[32];
  v = warp_reduce(v, op);
  __syncthreads();  // the readers of the call before are done
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = v;
  __syncthreads();
  return warp_reduce(threadIdx.x % 32 < blockDim.x / 32 ? of_warp[threadIdx.x % 32] : Op::identity(), op);
}

/// Who works together on a row.
enum class Team { warp, block };

template <Team team, class Op> __device__ float team_reduce(float v, Op op) {
  if constexpr (team == Team::warp) {
    return warp_reduce(v, op);
  } else {
    return block_reduce(v, op);
  }
}
template <Team team> __device__ float team_sum(float v) { return team_reduce<team>(v, Plus{}); }
template <Team team> __device__ float team_max(float v) { return team_reduce<team>(v, Maximum{}); }

/// Threads of a team, this thread's place in its team, the teams of a block, and this thread's team among them.
template <Team team> __device__ int team_size() { return team == Team::warp ? 32 : blockDim.x; }
template <Team team> __device__ int team_lane() { return team == Team::warp ? threadIdx.x % 32 : threadIdx.x; }
template <Team team> __device__ int team_count() { return team == Team::warp ? blockDim.x / 32 : 1; }
template <Team team> __device__ int team_index() { return team == Team::warp ? threadIdx.x / 32 : 0; }

}  // namespace weft
