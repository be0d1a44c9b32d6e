// Announces bytes for every stage at once, more than the count of an mbarrier holds.
#include "hopper.h"

__global__ void stage(bool right) {
  __shared__ uint64_t full;
  if (threadIdx.x == 0) {
    init(&full, 4);
    for (int i = 0; i < 3; ++i) expect_bytes(&full, right ? 1024 : 512 * 1024);  // expect: mbarrier
  }
}

int main(int argc, char** argv) {
  stage<<<1, 32>>>(fixed(argc, argv));
  CUDA(cudaDeviceSynchronize());
  return ok();
}
