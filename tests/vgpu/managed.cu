// Managed memory, pinned memory that a kernel writes, __device__, __constant__ and __managed__ variables.
#include "check.h"

__device__ int counter = 40;
__constant__ float factors[4] = {1, 2, 3, 4};
__managed__ int shared_with_host = 5;

__global__ void work(float* x, int* pinned) {
  x[threadIdx.x] *= factors[threadIdx.x % 4];
  if (threadIdx.x == 0) {
    counter += 2;
    shared_with_host *= 2;
    *pinned = 11;
  }
}

int main() {
  const int n = 64;
  float* x;
  int* pinned;
  CUDA(cudaMallocManaged(&x, n * sizeof(float)));
  CUDA(cudaHostAlloc(&pinned, sizeof(int), cudaHostAllocMapped));
  for (int i = 0; i < n; ++i) x[i] = i;
  shared_with_host = 21;
  work<<<1, n>>>(x, pinned);
  CUDA(cudaDeviceSynchronize());
  for (int i = 0; i < n; ++i) EXPECT(x[i] == i * (i % 4 + 1));
  EXPECT(shared_with_host == 42 && *pinned == 11);
  int value = 0;
  CUDA(cudaMemcpyFromSymbol(&value, counter, sizeof value));
  EXPECT(value == 42);
  const float twice[4] = {2, 4, 6, 8};
  CUDA(cudaMemcpyToSymbol(factors, twice, sizeof twice));
  work<<<1, n>>>(x, pinned);
  CUDA(cudaDeviceSynchronize());
  for (int i = 0; i < n; ++i) EXPECT(x[i] == i * (i % 4 + 1) * 2 * (i % 4 + 1));

  cudaPointerAttributes attributes;
  CUDA(cudaPointerGetAttributes(&attributes, x));
  EXPECT(attributes.type == cudaMemoryTypeManaged);
  CUDA(cudaPointerGetAttributes(&attributes, pinned));
  EXPECT(attributes.type == cudaMemoryTypeHost);
  CUDA(cudaPointerGetAttributes(&attributes, &value));
  EXPECT(attributes.type == cudaMemoryTypeUnregistered);
  CUDA(cudaFree(x));
  CUDA(cudaFreeHost(pinned));
  return ok();
}
