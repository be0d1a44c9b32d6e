// What every kernel of the cuda device begins with: the launcher (tensor/launch.cuh), and numbers taken in and out of f32.
#pragma once

#include "tensor/launch.cuh"

namespace weft {

/// Kernels compute in f32 whatever they load and store.
__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class T> __device__ T from_float(float x);
template <> __device__ inline float from_float<float>(float x) { return x; }
template <> __device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }

}  // namespace weft
