// Products of small tiles in plain f32, for attention; the same members as AttentionTileBf16.
//
// 128 threads as 8 (ty) x 16 (tx). Thread (ty, tx) has rows ty + 8 i, scores of the others tx + 16 j, and sums of four
// (two for D = 32) neighbouring columns every 64. Tiles lie in shared memory as [rows][D + 4]: the eight rows that a
// quarter warp reads 16 bytes of begin 4 banks apart, so they cover all 32. p goes through shared memory, [own][48]:
// the two rows that a warp writes are 16 banks apart; only the 16 threads of a row read it again.
//
// Napkin maths for 64 own rows: scores need per 4 of D 8 + 2 128-bit reads for 64 multiply-adds a thread; p v per 4
// others 8 + 4 D / 64 reads for 2 D. An SM does 128 multiply-adds and 128 B a cycle: 40 wavefronts at most for 16
// cycles a warp, half of them broadcasts: bound by shared memory.
#pragma once

#include "kernels/device/mma.cuh"
#include "kernels/device/vector.cuh"

namespace weft {

template <int D> struct AttentionTileF32 {
  using Element = float;
  static constexpr int slots = D == 128 ? 4 : 8;
  static constexpr bool column_pairs = false;  // two accumulators of 128 columns and 64 rows would not fit
  static constexpr int width = D, own = 8 * slots, others = 32, threads = 128, stages = 1;
  static constexpr int row_elements = D + 4, score_step = others + 16;
  static constexpr int scratch_elements = own * score_step;

  static constexpr int score_columns = others / 16, sum_columns = D / 16;
  struct Scores {
    float f[slots][score_columns];
    __device__ float& operator()(int i, int j) { return f[i][j]; }
  };
  struct Sums {
    float f[slots][sum_columns];
    __device__ float& operator()(int i, int j) { return f[i][j]; }
  };
  __device__ static int tx() { return threadIdx.x % 16; }
  __device__ static int row(int i) { return threadIdx.x / 16 + 8 * i; }
  __device__ static int column(int j) { return tx() + 16 * j; }

  template <class Op> __device__ static float reduce_row(float v, Op op) {
#pragma unroll
    for (int distance = 1; distance < 16; distance *= 2) v = op(v, __shfl_xor_sync(0xffffffffu, v, distance));
    return v;
  }

  template <int Rows> __device__ static void copy(float* to, const float* from, int64_t step, int rows, int width) {
    constexpr int chunks = D / 4, row_step = threads / chunks;
    const int first = threadIdx.x / chunks, column = threadIdx.x % chunks * 4;
    const uint32_t address = shared_address(to + first * row_elements + column);
    const float* source = from + first * step + column;
#pragma unroll
    for (int i = 0; i < Rows / row_step; ++i) {
      const bool inside = first + i * row_step < rows && column < width;
      copy_async<16>(address + 4 * i * row_step * row_elements, inside ? source + i * row_step * step : from, inside);
    }
  }

  __device__ static void scores(Scores& s, const float* own_tile, const float* other_tile) {
    s = {};
#pragma unroll 4
    for (int d = 0; d < D; d += 4) {
      float4 right[score_columns];
#pragma unroll
      for (int j = 0; j < score_columns; ++j)
        right[j] = *reinterpret_cast<const float4*>(other_tile + column(j) * row_elements + d);
#pragma unroll
      for (int i = 0; i < slots; ++i) {
        const float4 left = *reinterpret_cast<const float4*>(own_tile + row(i) * row_elements + d);
#pragma unroll
        for (int j = 0; j < score_columns; ++j) {
          float& sum = s.f[i][j];
          sum = fmaf(left.x, right[j].x, sum);
          sum = fmaf(left.y, right[j].y, sum);
          sum = fmaf(left.z, right[j].z, sum);
          sum = fmaf(left.w, right[j].w, sum);
        }
      }
    }
  }

  /// `scratch` holds scratch_elements.
  __device__ static void accumulate(Sums& sums, const Scores& p, const float* other_tile, float* scratch) {
    // Rows are shared by half a warp only; the previous call's readers must be done, then the writers.
    __syncwarp();
#pragma unroll
    for (int i = 0; i < slots; ++i) {
#pragma unroll
      for (int j = 0; j < score_columns; ++j) scratch[row(i) * score_step + column(j)] = p.f[i][j];
    }
    __syncwarp();
    constexpr int wide = D >= 64 ? 4 : 2;
#pragma unroll 2
    for (int k = 0; k < others; k += 4) {
      float right[4][sum_columns];
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int j = 0; j < sum_columns; j += wide) {
          const auto pack = Pack<float, wide>::load(other_tile + (k + r) * row_elements + j * 16 + tx() * wide);
#pragma unroll
          for (int e = 0; e < wide; ++e) right[r][j + e] = pack[e];
        }
      }
#pragma unroll
      for (int i = 0; i < slots; ++i) {
        const auto left = Pack<float, 4>::load(scratch + row(i) * score_step + k);
#pragma unroll
        for (int r = 0; r < 4; ++r) {
#pragma unroll
          for (int j = 0; j < sum_columns; ++j) sums.f[i][j] = fmaf(left[r], right[r][j], sums.f[i][j]);
        }
      }
    }
  }

  __device__ static void store(Sums& sums, const float (&factor)[slots], float* to, int64_t step, int rows, int width) {
    constexpr int wide = D >= 64 ? 4 : 2;
#pragma unroll
    for (int i = 0; i < slots; ++i) {
      if (row(i) >= rows) continue;
#pragma unroll
      for (int j = 0; j < sum_columns; j += wide) {
        const int column = j * 16 + tx() * wide;
        float* place = to + row(i) * step + column;
        Pack<float, wide> pack;
#pragma unroll
        for (int e = 0; e < wide; ++e) pack.set(e, sums.f[i][j + e] * factor[i]);
        if (column < width) pack.store(place);
      }
    }
  }
};

}  // namespace weft
