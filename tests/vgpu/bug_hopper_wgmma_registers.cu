// The sums of a wgmma are read when all but the last of the groups have been waited for.
#include "hopper_wgmma.h"

__global__ void product(float* y, bool right) {
  __shared__ alignas(1024) __nv_bfloat16 left[64 * 64], right_factor[64 * 64];
  for (int i = threadIdx.x; i < 64 * 64; i += blockDim.x) left[i] = right_factor[i] = __float2bfloat16(1);
  fence_proxy();
  __syncthreads();
  float sums[8] = {};
  fence_registers();
  multiply(sums, descriptor(left, 1024), descriptor(right_factor, 1024));
  commit_products();
  if (right) {
    wait_products<0>();
  } else {
    wait_products<1>();
  }
  for (int i = 0; i < 8; ++i) y[i * 128 + threadIdx.x] = sums[i];  // expect: wgmma
}

int main(int argc, char** argv) {
  DeviceArray<float> y(1024);
  product<<<1, 128>>>(y.data, fixed(argc, argv));
  CUDA(cudaDeviceSynchronize());
  return ok();
}
