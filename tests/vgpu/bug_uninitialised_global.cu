// Sums into memory that was allocated but never cleared.
#include "check.h"

__global__ void accumulate(float* y) {
  y[threadIdx.x] += 1;  // expect: uninitialised read
}

int main(int argc, char** argv) {
  DeviceArray<float> y(64);
  if (fixed(argc, argv)) CUDA(cudaMemset(y.data, 0, y.bytes));
  accumulate<<<1, 64>>>(y.data);
  CUDA(cudaDeviceSynchronize());
  return ok();
}
