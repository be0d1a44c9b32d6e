// What a launch, a copy and an allocation may not be, and how the error is told; attributes, occupancy, properties.
#include "check.h"

__global__ void __launch_bounds__(256) copy_shared(int* out) {
  extern __shared__ int shared[];
  shared[threadIdx.x] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

int main() {
  int count = 0;
  CUDA(cudaGetDeviceCount(&count));
  EXPECT(count == 1);
  cudaDeviceProp properties;
  CUDA(cudaGetDeviceProperties(&properties, 0));
  std::printf("%s, sm_%d%d, %d SMs\n", properties.name, properties.major, properties.minor,
              properties.multiProcessorCount);
  EXPECT(cudaSetDevice(1) == cudaErrorInvalidDevice);
  EXPECT(cudaGetLastError() == cudaErrorInvalidDevice && cudaGetLastError() == cudaSuccess);
  EXPECT(!std::strcmp(cudaGetErrorName(cudaErrorMemoryAllocation), "cudaErrorMemoryAllocation"));
  EXPECT(!std::strcmp(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory"));

  void* memory = nullptr;
  EXPECT(cudaMalloc(&memory, properties.totalGlobalMem + 1) == cudaErrorMemoryAllocation);
  EXPECT(cudaPeekAtLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaErrorMemoryAllocation);
  EXPECT(cudaFree(reinterpret_cast<void*>(64)) == cudaErrorInvalidValue);

  DeviceArray<int> out(256);
  int host[300];
  EXPECT(cudaMemcpy(host, out.data, sizeof host, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  (void)cudaGetLastError();
  copy_shared<<<1, 2000>>>(out.data);
  EXPECT(cudaGetLastError() == cudaErrorInvalidConfiguration);
  copy_shared<<<0, 32>>>(out.data);
  EXPECT(cudaGetLastError() == cudaErrorInvalidConfiguration);
  copy_shared<<<1, 512>>>(out.data);
  EXPECT(cudaGetLastError() == cudaErrorLaunchOutOfResources);

  // More than 48 KiB of dynamic shared memory must be asked for.
  size_t large = 60 * 1024;
  copy_shared<<<1, 64, large>>>(out.data);
  EXPECT(cudaGetLastError() == cudaErrorInvalidValue);
  CUDA(cudaFuncSetAttribute(copy_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(large)));
  copy_shared<<<1, 64, large>>>(out.data);
  CUDA(cudaGetLastError());
  CUDA(cudaDeviceSynchronize());
  int first = -1;
  CUDA(cudaMemcpy(&first, out.data, sizeof first, cudaMemcpyDeviceToHost));
  EXPECT(first == 63);
  EXPECT(cudaFuncSetAttribute(copy_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 1 << 20) ==
         cudaErrorInvalidValue);
  (void)cudaGetLastError();

  cudaFuncAttributes attributes;
  CUDA(cudaFuncGetAttributes(&attributes, copy_shared));
  EXPECT(attributes.numRegs > 0 && attributes.maxThreadsPerBlock == 256 && attributes.localSizeBytes == 0);
  int blocks = 0;
  CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, copy_shared, 256, 0));
  EXPECT(blocks == properties.maxThreadsPerMultiProcessor / 256);
  CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, copy_shared, 256, large));
  EXPECT(blocks == static_cast<int>(properties.sharedMemPerMultiprocessor / (large + 1024)));
  return ok();
}
