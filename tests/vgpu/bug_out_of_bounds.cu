// A guard that lets one thread too many through.
#include "check.h"

__global__ void fill(int* x, int last) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= last) x[i] = i;  // expect: out of bounds
}

int main(int argc, char** argv) {
  const int n = 1000;
  DeviceArray<int> x(n);
  fill<<<4, 256>>>(x.data, fixed(argc, argv) ? n - 1 : n);
  CUDA(cudaDeviceSynchronize());
  return ok();
}
