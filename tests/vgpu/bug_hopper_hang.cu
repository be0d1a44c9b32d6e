// More bytes are announced than come: every thread waits for ever.
#include "hopper.h"

__global__ void stage(const int4* x, int4* y, bool right) {
  __shared__ alignas(16) int4 tile[32];
  __shared__ uint64_t full;
  if (threadIdx.x == 0) {
    init(&full, 1);
    fence_init();
    expect_bytes(&full, right ? sizeof tile : 2 * sizeof tile);
    copy_bulk(tile, x, sizeof tile, &full);
  }
  __syncthreads();
  wait(&full, 0);  // expect: hang
  y[threadIdx.x] = tile[threadIdx.x];
}

int main(int argc, char** argv) {
  DeviceArray<int4> x(std::vector<int4>(32)), y(32);
  stage<<<1, 32>>>(x.data, y.data, fixed(argc, argv));
  CUDA(cudaDeviceSynchronize());
  return ok();
}
