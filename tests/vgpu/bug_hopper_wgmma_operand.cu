// The next tile is loaded over an operand that a wgmma may still read.
#include "hopper_wgmma.h"

__global__ void product(const __grid_constant__ CUtensorMap a, float* y, bool right) {
  __shared__ alignas(1024) __nv_bfloat16 left[64 * 64];
  __shared__ uint64_t full;
  if (threadIdx.x == 0) {
    init(&full, 1);
    fence_init();
  }
  __syncthreads();
  float sums[8] = {};
  for (int i = 0; i < 2; ++i) {
    if (threadIdx.x == 0) {
      expect_bytes(&full, sizeof left);
      load_box(left, &a, 0, 64 * i, &full);  // expect: async proxy
    }
    wait(&full, i);
    fence_registers();
    multiply(sums, descriptor(left, 1024), descriptor(left, 1024));
    commit_products();
    if (right) wait_products<0>();
    __syncthreads();
  }
  wait_products<0>();
  for (int i = 0; i < 8; ++i) y[i * 128 + threadIdx.x] = sums[i];
}

int main(int argc, char** argv) {
  DeviceArray<__nv_bfloat16> a(std::vector<__nv_bfloat16>(128 * 64));
  DeviceArray<float> y(1024);
  product<<<1, 128>>>(map_matrix(a.data, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 128, 64, 64, 64, CU_TENSOR_MAP_SWIZZLE_128B),
                      y.data, fixed(argc, argv));
  CUDA(cudaDeviceSynchronize());
  return ok();
}
