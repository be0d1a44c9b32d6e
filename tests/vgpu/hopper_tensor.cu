// A matrix goes through shared memory in boxes, two stages deep: loaded by tensor copies, doubled in place, stored by
// tensor copies; with edges, and what cuTensorMapEncodeTiled must reject.
#include <cuda/ptx>

#include "hopper.h"

namespace ptx = cuda::ptx;
constexpr int rows = 70, columns = 88, box = 32;

__global__ void twice(const __grid_constant__ CUtensorMap from, const __grid_constant__ CUtensorMap to) {
  __shared__ alignas(1024) float tile[2][box][box];
  __shared__ uint64_t full[2];
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(&full[0], 1);
    ptx::mbarrier_init(&full[1], 1);
    ptx::fence_mbarrier_init(ptx::sem_release, ptx::scope_cluster);
  }
  __syncthreads();
  const int y = blockIdx.x * box;
  const auto load = [&](int i) {
    if (threadIdx.x != 0) return;
    const int32_t at[2] = {i * box, y};
    ptx::mbarrier_arrive_expect_tx(ptx::sem_release, ptx::scope_cta, ptx::space_shared, &full[i % 2], sizeof tile[0]);
    ptx::cp_async_bulk_tensor(ptx::space_cluster, ptx::space_global, tile[i % 2], &from, at, &full[i % 2]);
  };
  load(0);
  const int steps = (columns + box - 1) / box;
  for (int i = 0; i < steps; ++i) {
    if (i > 0) {
      if (threadIdx.x == 0) ptx::cp_async_bulk_wait_group_read(ptx::n32_t<0>());
      __syncthreads();
    }
    if (i + 1 < steps) load(i + 1);
    while (!ptx::mbarrier_try_wait_parity(&full[i % 2], i / 2 % 2)) {
    }
    for (int j = threadIdx.x; j < box * box; j += blockDim.x) tile[i % 2][j / box][j % box] *= 2;
    ptx::fence_proxy_async(ptx::space_shared);
    __syncthreads();
    if (threadIdx.x == 0) {
      const int32_t at[2] = {i * box, y};
      ptx::cp_async_bulk_tensor(ptx::space_global, ptx::space_shared, &to, at, tile[i % 2]);
      ptx::cp_async_bulk_commit_group();
    }
  }
  if (threadIdx.x == 0) ptx::cp_async_bulk_wait_group_read(ptx::n32_t<0>());
}

int main() {
  std::vector<float> x(rows * columns);
  for (int i = 0; i < rows * columns; ++i) x[i] = i;
  DeviceArray<float> from(x), to(rows * columns);
  const auto map = [&](float* data) {
    return map_matrix(data, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, rows, columns, box, box, CU_TENSOR_MAP_SWIZZLE_NONE);
  };
  twice<<<(rows + box - 1) / box, 64>>>(map(from.data), map(to.data));
  CUDA(cudaDeviceSynchronize());
  const std::vector<float> y = to.host();
  for (int i = 0; i < rows * columns; ++i) EXPECT(y[i] == 2 * x[i]);

  void* function = nullptr;
  CUDA(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, nullptr));
  const auto encode = [&](void* data, cuuint64_t stride, cuuint32_t width, CUtensorMapSwizzle swizzle) {
    CUtensorMap map;
    const cuuint64_t size[] = {88, 70};
    const cuuint32_t sides[] = {width, 4}, steps[] = {1, 1};
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function)(
        &map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 2, data, size, &stride, sides, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
        swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  };
  EXPECT(encode(from.data, 352, 32, CU_TENSOR_MAP_SWIZZLE_128B) == CUDA_SUCCESS);
  EXPECT(encode(from.data + 1, 352, 32, CU_TENSOR_MAP_SWIZZLE_128B) == CUDA_ERROR_INVALID_VALUE);
  EXPECT(encode(from.data, 356, 32, CU_TENSOR_MAP_SWIZZLE_128B) == CUDA_ERROR_INVALID_VALUE);
  EXPECT(encode(from.data, 352, 30, CU_TENSOR_MAP_SWIZZLE_NONE) == CUDA_ERROR_INVALID_VALUE);
  EXPECT(encode(from.data, 352, 260, CU_TENSOR_MAP_SWIZZLE_NONE) == CUDA_ERROR_INVALID_VALUE);
  EXPECT(encode(from.data, 352, 64, CU_TENSOR_MAP_SWIZZLE_128B) == CUDA_ERROR_INVALID_VALUE);
  return ok();
}
