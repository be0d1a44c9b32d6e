// A ring whose producer does not wait until the consumers have read the stage.
#include "hopper.h"

__global__ void sum(const float* x, float* y, int n, bool right) {
  __shared__ alignas(128) float tile[256];
  __shared__ uint64_t full, empty;
  if (threadIdx.x == 0) {
    init(&full, 1);
    init(&empty, 64);
    fence_init();
  }
  __syncthreads();
  if (threadIdx.x >= 64) {  // the producer's warp
    for (int i = 0; i < n && threadIdx.x == 64; ++i) {
      if (right) wait(&empty, i % 2 ^ 1);
      expect_bytes(&full, sizeof tile);
      copy_bulk(tile, x + 256 * i, sizeof tile, &full);  // expect: async proxy
      if (!right) wait(&full, i % 2);
    }
    return;
  }
  float total = 0;
  for (int i = 0; i < n; ++i) {
    wait(&full, i % 2);
    for (int j = threadIdx.x; j < 256; j += 64) total += tile[j];
    arrive(&empty);
  }
  y[threadIdx.x] = total;
}

int main(int argc, char** argv) {
  DeviceArray<float> x(std::vector<float>(1024)), y(64);
  sum<<<1, 96>>>(x.data, y.data, 4, fixed(argc, argv));
  CUDA(cudaDeviceSynchronize());
  return ok();
}
