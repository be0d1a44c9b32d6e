// A sum in shared memory without the barrier between its steps.
#include "check.h"

__global__ void sum(int* x, bool right) {
  __shared__ int tile[128];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  for (int half = 64; half > 0; half /= 2) {
    if (threadIdx.x < half) tile[threadIdx.x] += tile[threadIdx.x + half];  // expect: data race
    if (right) __syncthreads();
  }
  if (threadIdx.x == 0) x[0] = tile[0];
}

int main(int argc, char** argv) {
  DeviceArray<int> x(std::vector<int>(128, 1));
  sum<<<1, 128>>>(x.data, fixed(argc, argv));
  CUDA(cudaDeviceSynchronize());
  return ok();
}
