// Device printf; with the argument "assert" an assertion that fails in one thread.
#include <cassert>

#include "check.h"

__global__ void print(int asserting) {
  if (threadIdx.x % 32 == 0)
    printf("block %d thread %d: %.2f %s\n", blockIdx.x, threadIdx.x, 0.5 * threadIdx.x, "text");
  assert(!asserting || blockIdx.x != 1 || threadIdx.x != 5);  // expect: assert
}

int main(int argc, char** argv) {
  bool asserting = argc > 1 && !std::strcmp(argv[1], "assert");
  print<<<2, 64>>>(asserting);
  cudaError_t error = cudaDeviceSynchronize();
  if (asserting) {
    EXPECT(error == cudaErrorAssert);
    EXPECT(cudaGetLastError() == cudaErrorAssert && cudaGetLastError() == cudaErrorAssert);  // it stays
    void* memory;
    EXPECT(cudaMalloc(&memory, 4) == cudaErrorAssert);
    std::puts("asserted");
    return 0;
  }
  CUDA(error);
  return ok();
}
