// The kernels around the main loops: which piece of the result a block computes, and what becomes of the sums.
#pragma once

#include "kernels/device/epilogue.cuh"
#include "kernels/device/gemm_bf16.cuh"
#include "kernels/device/gemm_f32.cuh"
#include "kernels/device/gemm_operand.cuh"

namespace weft {

/// Lane i of a quad gets word i of all four lanes: word j comes from lane j. Its own inverse. All lanes take part.
__device__ __forceinline__ void transpose_quad(uint32_t (&word)[4]) {
  const int q = threadIdx.x % 4;
  const auto swap = [&](uint32_t& low, uint32_t& high, int distance) {
    const bool upper = q & distance;
    const uint32_t got = __shfl_xor_sync(0xffffffffu, upper ? low : high, distance);
    (upper ? low : high) = got;
  };
  swap(word[0], word[1], 1);
  swap(word[2], word[3], 1);
  swap(word[0], word[2], 2);
  swap(word[1], word[3], 2);
}

/// y = a b on tensor cores. Grid: rows / Tile::M, columns / Tile::N, batch x splits; block z of the last axis sums the
/// products from (z % splits) split_depth on.
///
/// A lane ends with pairs of neighbouring columns, four of them 8 columns apart in a row. Before they are stored, and
/// after the residual is loaded, the quad exchanges them so that each lane has 8 neighbours: 16 bytes, whole sectors.
template <class Tile, bool AContiguous, bool BContiguous, bool Aligned, class A, class B, class Rows>
__global__ __launch_bounds__(Tile::threads, Aligned ? 512 / Tile::threads
                                                    : 3) void gemm_bf16_kernel(A a, B b, Result<__nv_bfloat16, Rows> y,
                                                                               int splits, int split_depth) {
  __shared__ __align__(16) __nv_bfloat16 shared[Tile::shared_elements];
  const int z = blockIdx.z / splits, k_begin = blockIdx.z % splits * split_depth;
  a.select(z);
  b.select(z);
  float sums[Tile::fragments_m][Tile::fragments_n][4] = {};
  const int m0 = blockIdx.x * Tile::M, n0 = blockIdx.y * Tile::N;
  gemm_bf16::multiply<Tile, AContiguous, BContiguous, Aligned>(sums, shared, a, b, m0, n0, k_begin,
                                                               min(a.depth, k_begin + split_depth));
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, q = lane % 4;
  const int m = m0 + warp / Tile::warps_n * Tile::warp_m + lane / 4, n = n0 + warp % Tile::warps_n * Tile::warp_n;
#pragma unroll
  for (int i = 0; i < 2 * Tile::fragments_m; ++i) {
    const int row = m + 8 * i;
    float mine[8];
#pragma unroll
    for (int j = 0; j < 4; ++j)
      mine[2 * j] = sums[i / 2][j][i % 2 * 2], mine[2 * j + 1] = sums[i / 2][j][i % 2 * 2 + 1];
    if (y.partial) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int column = n + j / 2 * 8 + 2 * q + j % 2;
        if (y.vectors && j % 2 == 0 && y.inside(row, column)) {
          *reinterpret_cast<float2*>(y.partial_at(blockIdx.z, row, column)) = {mine[j], mine[j + 1]};
        } else if (!y.vectors && y.inside(row, column)) {
          *y.partial_at(blockIdx.z, row, column) = mine[j];
        }
      }
      continue;
    }
    const bool wide_inside = y.inside(row, n + 8 * q);
    const int64_t at = row < y.rows ? y.place.offset(z, row) + n : 0;
    if (y.residual) {
      __align__(16) uint32_t word[4] = {};
      if (y.vectors) {
        if (wide_inside) *reinterpret_cast<uint4*>(word) = *reinterpret_cast<const uint4*>(y.residual + at + 8 * q);
        transpose_quad(word);
      }
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int c = j / 2 * 8 + 2 * q + j % 2;
        const float2 pair = unpack_bf16(word[j / 2]);
        if (y.vectors) mine[j] += j % 2 ? pair.y : pair.x;
        if (!y.vectors && y.inside(row, n + c)) mine[j] += to_float(y.residual[at + c]);
      }
    }
    if (y.bias) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int column = n + j / 2 * 8 + 2 * q + j % 2;
        if (column < y.columns) mine[j] += to_float(y.bias[z * y.bias_step + column]);
      }
    }
    activate_all(y.activation, mine);
    if (y.vectors) {
      __align__(16) uint32_t word[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) word[j] = pack_bf16(mine[2 * j], mine[2 * j + 1]);
      transpose_quad(word);
      if (wide_inside) *reinterpret_cast<uint4*>(y.y + at + 8 * q) = *reinterpret_cast<const uint4*>(word);
    } else {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int c = j / 2 * 8 + 2 * q + j % 2;
        if (y.inside(row, n + c)) y.y[at + c] = from_float<__nv_bfloat16>(mine[j]);
      }
    }
  }
}

/// y = a b in f32, grid as above.
template <class Tile, bool AContiguous, bool BContiguous, bool Aligned, class A, class B, class Rows>
__global__ __launch_bounds__(Tile::threads, Tile::blocks) void gemm_f32_kernel(A a, B b, Result<float, Rows> y,
                                                                               int splits, int split_depth) {
  __shared__ __align__(16) float shared[Tile::shared_elements];
  const int z = blockIdx.z / splits, k_begin = blockIdx.z % splits * split_depth;
  a.select(z);
  b.select(z);
  float sums[8][8] = {};
  const int m0 = blockIdx.x * Tile::M, n0 = blockIdx.y * Tile::N;
  gemm_f32::multiply<Tile, AContiguous, BContiguous, Aligned>(sums, shared, a, b, m0, n0, k_begin,
                                                              min(a.depth, k_begin + split_depth));
  const gemm_f32::Place<Tile> place;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int row = m0 + place.row(i);
    if (row >= y.rows) continue;
    const int64_t at = y.place.offset(z, row);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int column = n0 + place.column(j);
      if (y.partial || column >= y.columns) continue;
      if (y.bias) sums[i][j] += y.bias[z * y.bias_step + column];
      if (y.residual) sums[i][j] += y.residual[at + column];
    }
    if (!y.partial) activate_all(y.activation, sums[i]);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int column = n0 + place.column(j);
      if (column >= y.columns) continue;
      float* to = y.partial ? y.partial_at(blockIdx.z, row, column) : y.y + at + column;
      if (!y.vectors) *to = sums[i][j];
      if (y.vectors && j % 4 == 0)
        *reinterpret_cast<float4*>(to) = {sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]};
    }
  }
}

/// y = act(the sum of `splits` partial results + bias + residual), added in order: the same bits in every run.
/// One thread an element, neighbours along the columns; per element 4 splits bytes in, one element out: bound by
/// memory.
template <class T, class Rows> __global__ void gemm_sum_kernel(Result<T, Rows> y, int batch, int splits) {
  const int64_t count = static_cast<int64_t>(y.rows) * y.columns;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= batch * count) return;
  const int z = static_cast<int>(i / count);
  const float* from = y.partial + z * splits * count + i % count;
  float sum = 0;
  for (int s = 0; s < splits; ++s) sum += from[s * count];
  const int row = static_cast<int>(i % count / y.columns), column = static_cast<int>(i % y.columns);
  const int64_t at = y.place.offset(z, row) + column;
  if (y.bias) sum += to_float(y.bias[z * y.bias_step + column]);
  if (y.residual) sum += to_float(y.residual[at]);
  float one[1] = {sum};
  activate_all(y.activation, one);
  y.y[at] = from_float<T>(one[0]);
}

}  // namespace weft
