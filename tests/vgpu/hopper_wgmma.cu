// y = a b for 64 x 64 by 64 x 64: both operands by tensor copies with 128-byte swizzles, the product by wgmma, from
// K-major a and N-major b.
#include "hopper_wgmma.h"

__global__ void product(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b, float* y) {
  __shared__ alignas(1024) __nv_bfloat16 left[64 * 64], right[64 * 64];
  __shared__ uint64_t full;
  if (threadIdx.x == 0) {
    init(&full, 1);
    fence_init();
    expect_bytes(&full, sizeof left + sizeof right);
    load_box(left, &a, 0, 0, &full);
    load_box(right, &b, 0, 0, &full);
  }
  __syncthreads();
  wait(&full, 0);
  float sums[8] = {};
  for (int column = 0; column < 64; column += 16) {
    for (float& s : sums) s = 0;
    fence_registers();
    for (int k = 0; k < 64; k += 16)
      multiply(sums, descriptor(left + k, 1024), descriptor(right + 64 * k + column, 1024));
    commit_products();
    wait_products<0>();
    const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, at = column + threadIdx.x % 4 * 2;
    for (int i = 0; i < 8; ++i) y[(row + i % 4 / 2 * 8) * 64 + at + i / 4 * 8 + i % 2] = sums[i];
  }
}

int main() {
  std::vector<__nv_bfloat16> a(64 * 64), b(64 * 64);
  for (int i = 0; i < 64 * 64; ++i) a[i] = float(i * 7 % 11 - 5), b[i] = float(i * 5 % 13 - 6);
  DeviceArray<__nv_bfloat16> da(a), db(b);
  DeviceArray<float> y(64 * 64);
  const auto map = [](__nv_bfloat16* data) {
    return map_matrix(data, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 64, 64, 64, 64, CU_TENSOR_MAP_SWIZZLE_128B);
  };
  product<<<1, 128>>>(map(da.data), map(db.data), y.data);
  CUDA(cudaDeviceSynchronize());
  const std::vector<float> got = y.host();
  for (int m = 0; m < 64; ++m)
    for (int n = 0; n < 64; ++n) {
      float want = 0;
      for (int k = 0; k < 64; ++k) want += float(a[m * 64 + k]) * float(b[k * 64 + n]);
      EXPECT(got[m * 64 + n] == want);
    }
  return ok();
}
