// Blocks that count in global memory without an atomic.
#include "check.h"

__global__ void count(int* total, bool right) {
  if (threadIdx.x != 0) return;
  if (right) {
    atomicAdd(total, 1);
  } else {
    *total += 1;  // expect: data race
  }
}

int main(int argc, char** argv) {
  DeviceArray<int> total(std::vector<int>(1, 0));
  count<<<8, 32>>>(total.data, fixed(argc, argv));
  CUDA(cudaDeviceSynchronize());
  return ok();
}
