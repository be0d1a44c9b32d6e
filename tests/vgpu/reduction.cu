// A block's sum with shuffles, for element types and templates, and a sum over blocks with atomics.
#include "check.h"

template <class T>
__device__ T warp_sum(T value) {
  for (int offset = 16; offset; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
  return value;
}

template <class T, int threads>
__global__ void block_sum(const T* x, int n, T* sum) {
  __shared__ T partial[threads / 32];
  T value = 0;
  for (int i = blockIdx.x * threads + threadIdx.x; i < n; i += gridDim.x * threads) value += x[i];
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x < 32) {
    value = warp_sum(threadIdx.x < threads / 32 ? partial[threadIdx.x] : T(0));
    if (threadIdx.x == 0) atomicAdd(sum, value);
  }
}

template <class T>
void sum_up(int n) {
  std::vector<T> x(n);
  T want = 0;
  for (int i = 0; i < n; ++i) want += x[i] = T(i % 17);
  DeviceArray<T> dx(x), sum(std::vector<T>{0});
  block_sum<T, 128><<<3, 128>>>(dx.data, n, sum.data);
  EXPECT(sum.host()[0] == want);
}

int main() {
  for (int n : {1, 31, 33, 1000, 4099}) {
    sum_up<int>(n);
    sum_up<float>(n);
    sum_up<double>(n);
  }
  return ok();
}
