// Products of small tiles on tensor cores, for attention: scores s = own other^T, sums += p other, p from registers.
//
// A block of four warps owns 64 rows (queries, or keys), 16 a warp, and walks over tiles of the others. Tiles lie in
// shared memory as [rows][D], their 16-byte chunks swizzled as in gemm_bf16.cuh: no bank conflicts. A warp's scores are
// fragments in registers, which have just the layout of the first factor of the next product: p never leaves the
// registers.
//
// Napkin maths for D = 64 and 64 others, per warp: scores 32 mma for 4 + 16 ldmatrix.x4, p v the same without the 4:
// 36 x 512 B = 18 KiB of shared reads for 64 mma = 262 kFLOP; per SM of an A100 144 cycles of reads (128 B) for 128 of
// arithmetic (2,048 FLOP): the two are in balance. Registers: D / 2 sums, N / 2 scores.
#pragma once

#include "kernels/device/gemm_bf16.cuh"
#include "kernels/device/gemm_kernel.cuh"

namespace weft {

template <int D> struct AttentionTileBf16 {
  using Element = __nv_bfloat16;
  static constexpr int width = D, own = 64, others = D == 128 ? 32 : 64, threads = 128, stages = 2;
  static constexpr int row_elements = D;  // of a tile in shared memory
  static constexpr int scratch_elements = 0;

  /// A thread holds elements (row(i), column(j)) of the scores, i < slots, j < score_columns, and elements (row(i),
  /// sum_column(j)) of the sums, j < sum_columns.
  static constexpr int slots = 2, score_columns = others / 4, sum_columns = D / 4;
  static constexpr bool column_pairs = true;  // columns 2 j and 2 j + 1 are neighbours, the first one even
  struct Scores {
    float f[others / 8][4];
    __device__ float& operator()(int i, int j) { return f[j / 2][i * 2 + j % 2]; }
  };
  struct Sums {
    float f[D / 8][4];
    __device__ float& operator()(int i, int j) { return f[j / 2][i * 2 + j % 2]; }
  };
  __device__ static int row(int i) { return threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + 8 * i; }
  __device__ static int column(int j) { return j / 2 * 8 + threadIdx.x % 4 * 2 + j % 2; }

  /// Over the threads that share a row.
  template <class Op> __device__ static float reduce_row(float v, Op op) {
    v = op(v, __shfl_xor_sync(0xffffffffu, v, 1));
    return op(v, __shfl_xor_sync(0xffffffffu, v, 2));
  }

  /// Starts the copies of `rows` rows from `from` on, `step` apart, to a tile of Rows; what is outside becomes zero.
  /// Rows begin at multiples of 16 bytes, `width` is a multiple of 8.
  template <int Rows> __device__ static void copy(Element* to, const Element* from, int64_t step, int rows, int width) {
    constexpr int chunks = D / 8, row_step = threads / chunks;
    static_assert(row_step % 8 == 0);  // does not change the swizzle
    const int first = threadIdx.x / chunks, column = threadIdx.x % chunks * 8;
    const uint32_t address = shared_address(to + gemm_bf16::swizzle<D>(first, column / 8));
    const Element* source = from + first * step + column;
#pragma unroll
    for (int i = 0; i < Rows / row_step; ++i) {
      const bool inside = first + i * row_step < rows && column < width;
      copy_async<16>(address + 2 * i * row_step * D, inside ? source + i * row_step * step : from, inside);
    }
  }

  /// s = own other^T.
  __device__ static void scores(Scores& s, const Element* own_tile, const Element* other_tile) {
    const int lane = threadIdx.x % 32, first = threadIdx.x / 32 * 16;
    const gemm_bf16::SwizzledPlace<D> left(first + lane % 16, lane / 16), right(lane / 16 * 8 + lane % 8, lane / 8 % 2);
    const uint32_t own_address = shared_address(own_tile), other_address = shared_address(other_tile);
    s = {};
#pragma unroll
    for (int k = 0; k < D; k += 16) {
      uint32_t a[4];
      load_matrices(a, own_address + left.at(0, k));
#pragma unroll
      for (int j = 0; j < others / 8; j += 2) {
        uint32_t b[4];
        load_matrices(b, other_address + right.at(8 * j, k));
        mma_bf16(s.f[j], a, b[0], b[1]);
        mma_bf16(s.f[j + 1], a, b[2], b[3]);
      }
    }
  }

  /// sums += p other.
  __device__ static void accumulate(Sums& sums, const Scores& p, const Element* other_tile, float*) {
    const int lane = threadIdx.x % 32;
    const gemm_bf16::SwizzledPlace<D> place(lane % 16, lane / 16);
    const uint32_t other_address = shared_address(other_tile);
#pragma unroll
    for (int k = 0; k < others / 8; k += 2) {
      const uint32_t a[4] = {pack_bf16(p.f[k][0], p.f[k][1]), pack_bf16(p.f[k][2], p.f[k][3]),
                             pack_bf16(p.f[k + 1][0], p.f[k + 1][1]), pack_bf16(p.f[k + 1][2], p.f[k + 1][3])};
#pragma unroll
      for (int j = 0; j < D / 8; j += 2) {
        uint32_t b[4];
        load_matrices_transposed(b, other_address + place.at(8 * k, 8 * j));
        mma_bf16(sums.f[j], a, b[0], b[1]);
        mma_bf16(sums.f[j + 1], a, b[2], b[3]);
      }
    }
  }

  /// The sums of this block's first `rows` rows, times factor[slot], to rows `step` apart.
  __device__ static void store(Sums& sums, const float (&factor)[slots], Element* to, int64_t step, int rows,
                               int width) {
    const int q = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < slots; ++i) {
#pragma unroll
      for (int j = 0; j < D / 8; j += 4) {
        __align__(16) uint32_t word[4];
#pragma unroll
        for (int b = 0; b < 4; ++b)
          word[b] = pack_bf16(sums.f[j + b][2 * i] * factor[i], sums.f[j + b][2 * i + 1] * factor[i]);
        transpose_quad(word);
        const int column = 8 * (j + q);
        Element* place = to + row(i) * step + column;
        if (row(i) < rows && column < width) *reinterpret_cast<uint4*>(place) = *reinterpret_cast<const uint4*>(word);
      }
    }
  }
};

}  // namespace weft
