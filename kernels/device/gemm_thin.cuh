// Products with one to four rows: a vector times a matrix. Every element of the matrix b is used once a row, so memory
// is the bound: b is read once, in whole sectors, whichever way it lies.
#pragma once

#include "kernels/device/epilogue.cuh"
#include "kernels/device/gemm_operand.cuh"
#include "kernels/device/reduce.cuh"
#include "kernels/device/vector.cuh"

namespace weft {

/// y [rows, columns] with any steps, so that a product with few columns is the transposed one with few rows.
template <class T> struct ThinResult {
  T* y;
  const T *bias, *residual;  // bias: element (r, n) at r bias_row_step + n bias_column_step
  int64_t row_step, column_step, batch_step, bias_row_step, bias_column_step;
  Activation activation;
  int rows, columns;

  __device__ void store(int z, int row, int column, float sum) const {
    const int64_t at = z * batch_step + row * row_step + column * column_step;
    if (bias) sum += to_float(bias[row * bias_row_step + column * bias_column_step]);
    if (residual) sum += to_float(residual[at]);
    float one[1] = {sum};
    activate_all(activation, one);
    y[at] = from_float<T>(one[0]);
  }
};

constexpr int thin_warps = 8;

/// b contiguous along k: one warp a column, its lanes along k, V elements each (V > 1: a is contiguous along k too).
/// Napkin maths: 2 R multiply-adds an element of b; R = 1 in bf16 is 1 FLOP a byte.
template <class T, int R, int V>
__global__ __launch_bounds__(32 * thin_warps) void gemm_thin_dot_kernel(StridedMatrix<T> a, StridedMatrix<T> b,
                                                                        ThinResult<T> y) {
  const int column = blockIdx.x * thin_warps + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (column >= y.columns) return;
  a.select(blockIdx.y);
  b.select(blockIdx.y);
  const T* right = b.data + column * b.row_step;
  float sums[R] = {};
  for (int k = lane * V; k < a.depth; k += 32 * V) {
    const auto factors = Pack<T, V>::load(right + k * b.k_step);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (r >= y.rows) break;
      const auto left = Pack<T, V>::load(a.data + r * a.row_step + k * a.k_step);
#pragma unroll
      for (int i = 0; i < V; ++i) sums[r] = fmaf(left[i], factors[i], sums[r]);
    }
  }
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const float sum = warp_reduce(sums[r], Plus{});
    if (r < y.rows && lane == r) y.store(blockIdx.y, r, column, sum);
  }
}

/// b contiguous along its columns: a block has 32 V neighbouring columns, one lane V of them; its warps share the k.
/// The warps' sums meet in shared memory and are added in order.
template <class T, int R, int V>
__global__ __launch_bounds__(32 * thin_warps) void gemm_thin_sum_kernel(StridedMatrix<T> a, StridedMatrix<T> b,
                                                                        ThinResult<T> y) {
  __shared__ float of_warp[thin_warps][R * V][32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = (blockIdx.x * 32 + lane) * V;
  a.select(blockIdx.y);
  b.select(blockIdx.y);
  float sums[R][V] = {};
  if (column < y.columns) {
    for (int k = warp; k < a.depth; k += thin_warps) {
      const auto factors = Pack<T, V>::load(b.data + k * b.k_step + column);
#pragma unroll
      for (int r = 0; r < R; ++r) {
        if (r >= y.rows) break;
        const float left = to_float(a.data[r * a.row_step + k * a.k_step]);
#pragma unroll
        for (int i = 0; i < V; ++i) sums[r][i] = fmaf(left, factors[i], sums[r][i]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < R; ++r) {
#pragma unroll
    for (int i = 0; i < V; ++i) of_warp[warp][r * V + i][lane] = sums[r][i];
  }
  __syncthreads();
  for (int i = warp; i < y.rows * V; i += thin_warps) {
    if (column + i % V >= y.columns) continue;
    float sum = 0;
    for (int w = 0; w < thin_warps; ++w) sum += of_warp[w][i][lane];
    y.store(blockIdx.y, i / V, column + i % V, sum);
  }
}

}  // namespace weft
