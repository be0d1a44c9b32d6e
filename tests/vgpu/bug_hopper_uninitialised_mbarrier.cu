// A wait for an mbarrier that nobody has initialised.
#include "hopper.h"

__global__ void stage(const int4* x, int4* y, bool right) {
  __shared__ alignas(16) int4 tile[32];
  __shared__ uint64_t full[2];
  if (threadIdx.x == 0) {
    init(&full[0], 1);
    if (right) init(&full[1], 1);
    fence_init();
    expect_bytes(&full[0], sizeof tile);
    copy_bulk(tile, x, sizeof tile, &full[0]);
    if (right) arrive(&full[1]);
  }
  __syncthreads();
  wait(&full[0], 0);
  wait(&full[1], 0);  // expect: mbarrier
  y[threadIdx.x] = tile[threadIdx.x];
}

int main(int argc, char** argv) {
  DeviceArray<int4> x(std::vector<int4>(32)), y(32);
  stage<<<1, 32>>>(x.data, y.data, fixed(argc, argv));
  CUDA(cudaDeviceSynchronize());
  return ok();
}
