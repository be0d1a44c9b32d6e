// The second stage of a tensor copy is read when only the first has been waited for.
#include "hopper.h"

__global__ void stage(const __grid_constant__ CUtensorMap map, float* y, bool right) {
  __shared__ alignas(128) float tile[2][256];
  __shared__ uint64_t full[2];
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) init(&full[i], 1);
    fence_init();
    for (int i = 0; i < 2; ++i) {
      expect_bytes(&full[i], sizeof tile[i]);
      load_box(tile[i], &map, 0, 16 * i, &full[i]);
    }
  }
  __syncthreads();
  wait(&full[0], 0);
  if (right) wait(&full[1], 0);
  y[threadIdx.x] = tile[0][threadIdx.x] + tile[1][threadIdx.x];  // expect: async proxy
}

int main(int argc, char** argv) {
  DeviceArray<float> x(std::vector<float>(1024)), y(32);
  stage<<<1, 32>>>(map_matrix(x.data, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 32, 32, 16, 16, CU_TENSOR_MAP_SWIZZLE_NONE),
                   y.data, fixed(argc, argv));
  CUDA(cudaDeviceSynchronize());
  return ok();
}
