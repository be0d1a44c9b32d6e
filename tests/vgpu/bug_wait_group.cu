// A pipeline of cp.async that waits for all but one group where it needs the last.
#include <cuda_pipeline.h>

#include "check.h"

__global__ void stage(const float4* x, float4* y, bool right) {
  __shared__ float4 tile[32];
  __pipeline_memcpy_async(&tile[threadIdx.x], &x[threadIdx.x], sizeof(float4));
  __pipeline_commit();
  if (right) {
    __pipeline_wait_prior(0);
  } else {
    __pipeline_wait_prior(1);
  }
  __syncthreads();
  y[threadIdx.x] = tile[31 - threadIdx.x];  // expect: cp.async
}

int main(int argc, char** argv) {
  DeviceArray<float4> x(std::vector<float4>(32)), y(32);
  stage<<<1, 32>>>(x.data, y.data, fixed(argc, argv));
  CUDA(cudaDeviceSynchronize());
  return ok();
}
