// A tile written by threads goes out by a tensor copy without the fence between the proxies.
#include "hopper.h"

__global__ void stage(const __grid_constant__ CUtensorMap map, bool right) {
  __shared__ alignas(128) float tile[256];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) tile[i] = i;
  if (right) fence_proxy();
  __syncthreads();
  if (threadIdx.x == 0) {
    store_box(&map, 0, 0, tile);  // expect: async proxy
    wait_stores<0>();
  }
}

int main(int argc, char** argv) {
  DeviceArray<float> y(1024);
  stage<<<1, 64>>>(map_matrix(y.data, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 32, 32, 16, 16, CU_TENSOR_MAP_SWIZZLE_NONE),
                   fixed(argc, argv));
  CUDA(cudaDeviceSynchronize());
  return ok();
}
