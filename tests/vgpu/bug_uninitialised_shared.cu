// The last element of a tile that nobody wrote.
#include "check.h"

__global__ void neighbours(const int* x, int* y, int n) {
  __shared__ int tile[65];
  for (int i = threadIdx.x; i < n; i += 64) tile[i] = x[i];
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x] + tile[threadIdx.x + 1];  // expect: uninitialised read
}

int main(int argc, char** argv) {
  DeviceArray<int> x(std::vector<int>(65, 1)), y(64);
  neighbours<<<1, 64>>>(x.data, y.data, fixed(argc, argv) ? 65 : 64);
  CUDA(cudaDeviceSynchronize());
  return ok();
}
