// A mask that names half of the lanes that exchange.
#include "check.h"

__global__ void exchange(int* x, unsigned mask) {
  int value = x[threadIdx.x];
  value += __shfl_xor_sync(mask, value, 1);  // expect: shuffle mask
  x[threadIdx.x] = value;
}

int main(int argc, char** argv) {
  DeviceArray<int> x(std::vector<int>(32, 1));
  exchange<<<1, 32>>>(x.data, fixed(argc, argv) ? ~0u : 0xffffu);
  CUDA(cudaDeviceSynchronize());
  return ok();
}
