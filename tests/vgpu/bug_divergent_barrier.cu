// A barrier that only a part of the block reaches.
#include "check.h"

__global__ void half_waits(int* x, int limit) {
  __shared__ int tile[64];
  tile[threadIdx.x] = threadIdx.x;
  if (threadIdx.x < limit) {
    __syncthreads();  // expect: barrier
    x[threadIdx.x] = tile[threadIdx.x];
  } else {
    x[threadIdx.x] = 0;
    __syncwarp();
  }
  x[threadIdx.x] += 1;
}

int main(int argc, char** argv) {
  DeviceArray<int> x(64);
  half_waits<<<1, 64>>>(x.data, fixed(argc, argv) ? 64 : 48);
  CUDA(cudaDeviceSynchronize());
  return ok();
}
