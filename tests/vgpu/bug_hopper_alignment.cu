// A tensor copy to shared memory that is aligned to 16 bytes, not to 128.
#include "hopper.h"

__global__ void stage(const __grid_constant__ CUtensorMap map, float* y, bool right) {
  __shared__ alignas(128) float tile[2 + 1024];
  __shared__ uint64_t full;
  float* to = tile + (right ? 0 : 4);
  if (threadIdx.x == 0) {
    init(&full, 1);
    fence_init();
    expect_bytes(&full, 16 * 16 * 4);
    load_box(to, &map, 0, 0, &full);  // expect: misaligned access
  }
  __syncthreads();
  wait(&full, 0);
  y[threadIdx.x] = to[threadIdx.x];
}

int main(int argc, char** argv) {
  DeviceArray<float> x(std::vector<float>(1024)), y(32);
  stage<<<1, 32>>>(map_matrix(x.data, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 32, 32, 16, 16, CU_TENSOR_MAP_SWIZZLE_NONE),
                   y.data, fixed(argc, argv));
  CUDA(cudaDeviceSynchronize());
  return ok();
}
