#include "check.h"

__global__ void sum(const int* x, int* y) {
  y[threadIdx.x] += x[threadIdx.x];  // expect: use after free
}

int main(int argc, char** argv) {
  DeviceArray<int> y(std::vector<int>(32, 1));
  int* x;
  CUDA(cudaMalloc(&x, 32 * sizeof(int)));
  CUDA(cudaMemset(x, 0, 32 * sizeof(int)));
  bool right = fixed(argc, argv);
  if (!right) CUDA(cudaFree(x));
  sum<<<1, 32>>>(x, y.data);
  CUDA(cudaDeviceSynchronize());
  if (right) CUDA(cudaFree(x));
  return ok();
}
