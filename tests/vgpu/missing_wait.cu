// A stream that uses what another makes without waiting for it: right in the order of the calls, wrong in others. With
// the argument "fixed" it waits.
#include "check.h"

__global__ void set(int* x, int value) { *x = value; }
__global__ void copy(const int* from, int* to) { *to = *from; }

int main(int argc, char** argv) {
  cudaStream_t producer, consumer;
  CUDA(cudaStreamCreateWithFlags(&producer, cudaStreamNonBlocking));
  CUDA(cudaStreamCreateWithFlags(&consumer, cudaStreamNonBlocking));
  cudaEvent_t made;
  CUDA(cudaEventCreate(&made));
  DeviceArray<int> x(std::vector<int>{0}), y(std::vector<int>{0});
  set<<<1, 1, 0, producer>>>(x.data, 7);
  CUDA(cudaEventRecord(made, producer));
  if (fixed(argc, argv)) CUDA(cudaStreamWaitEvent(consumer, made, 0));
  copy<<<1, 1, 0, consumer>>>(x.data, y.data);
  CUDA(cudaStreamSynchronize(consumer));
  int result = y.host()[0];
  CUDA(cudaStreamSynchronize(producer));
  CUDA(cudaEventDestroy(made));
  CUDA(cudaStreamDestroy(producer));
  CUDA(cudaStreamDestroy(consumer));
  EXPECT(result == 7);
  return ok();
}
