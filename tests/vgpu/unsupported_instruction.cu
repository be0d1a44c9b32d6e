// An instruction that the interpreter lacks: refused by its name when its kernel is launched.
#include "check.h"

__global__ void forget(float* x) { asm volatile("discard.global.L2 [%0], 128;" ::"l"(x)); }

int main() {
  DeviceArray<float> x(std::vector<float>(32, 0));
  forget<<<1, 1>>>(x.data);
  CUDA(cudaDeviceSynchronize());
  return ok();
}
