// Streams, events, asynchronous copies, host functions, the default stream's order, priorities, pools.
#include "check.h"

__global__ void add(int* x, int n, int amount) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] += amount;
}

__global__ void copy(const int* from, int* to, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) to[i] = from[i];
}

int main() {
  const int n = 1 << 16, blocks = n / 256;
  cudaStream_t first, second;
  CUDA(cudaStreamCreate(&first));
  CUDA(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
  cudaEvent_t start, filled, end;
  CUDA(cudaEventCreate(&start));
  CUDA(cudaEventCreateWithFlags(&filled, cudaEventDisableTiming));
  CUDA(cudaEventCreate(&end));
  int *pinned, *a, *b;
  CUDA(cudaMallocHost(&pinned, n * sizeof(int)));
  CUDA(cudaMallocAsync(&a, n * sizeof(int), first));
  CUDA(cudaMalloc(&b, n * sizeof(int)));

  CUDA(cudaEventRecord(start, first));
  CUDA(cudaMemsetAsync(a, 0, n * sizeof(int), first));
  for (int i = 0; i < 5; ++i) add<<<blocks, 256, 0, first>>>(a, n, 1);
  CUDA(cudaEventRecord(filled, first));
  CUDA(cudaStreamWaitEvent(second, filled, 0));
  copy<<<blocks, 256, 0, second>>>(a, b, n);
  CUDA(cudaMemcpyAsync(pinned, b, n * sizeof(int), cudaMemcpyDeviceToHost, second));
  int called_with = 0;
  CUDA(cudaLaunchHostFunc(
      second, [](void* to) { *static_cast<int*>(to) = 7; }, &called_with));
  CUDA(cudaEventRecord(end, second));
  CUDA(cudaEventSynchronize(end));
  EXPECT(called_with == 7);
  for (int i = 0; i < n; ++i) EXPECT(pinned[i] == 5);

  float milliseconds = -1;
  CUDA(cudaEventElapsedTime(&milliseconds, start, end));
  EXPECT(milliseconds > 0 && milliseconds < 10);
  EXPECT(cudaEventElapsedTime(&milliseconds, filled, end) == cudaErrorInvalidResourceHandle);
  EXPECT(cudaGetLastError() == cudaErrorInvalidResourceHandle);

  // The default stream waits for `first`, and `first` for it.
  add<<<blocks, 256, 0, first>>>(a, n, 1);
  copy<<<blocks, 256>>>(a, b, n);
  add<<<blocks, 256, 0, first>>>(b, n, 10);
  CUDA(cudaStreamSynchronize(first));
  CUDA(cudaMemcpy(pinned, b, n * sizeof(int), cudaMemcpyDeviceToHost));
  EXPECT(pinned[0] == 16 && pinned[n - 1] == 16);
  while (cudaStreamQuery(second) == cudaErrorNotReady) {
  }
  (void)cudaGetLastError();

  int least, greatest;
  CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  EXPECT(least >= greatest);
  CUDA(cudaFreeAsync(a, first));
  CUDA(cudaStreamDestroy(first));
  CUDA(cudaStreamDestroy(second));
  for (cudaEvent_t event : {start, filled, end}) CUDA(cudaEventDestroy(event));
  CUDA(cudaFree(b));
  CUDA(cudaFreeHost(pinned));
  return ok();
}
