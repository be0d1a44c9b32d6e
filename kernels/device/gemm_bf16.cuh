// The main loop of every bf16 product (matmul, convolution): tensor cores, fed through shared memory by asynchronous
// copies.
//
// A block computes a Tile::M x Tile::N piece of the result. Its warps form a grid, each with a 64 x 32 or 32 x 32 piece
// in registers as 16 x 8 fragments. The sum runs in steps of 32: while one step is multiplied, the copies of the next
// two are under way in the other stages of a ring of three.
//
// Shared memory: a factor that is contiguous along k lies as [r][32] (64-byte rows), one that is contiguous along r as
// [32][R]. 16-byte chunks of a row are swapped by the row number (`swizzle`), so that the eight rows that one 8x8
// matrix of ldmatrix reads, and the eight chunks that a quarter warp writes, lie in all 32 banks: no conflicts.
//
// Napkin maths for 128 x 128: per step and warp 2 x (4 + 2) ldmatrix.x4 = 6 KiB of shared reads for 32 mma = 131 kFLOP;
// per SM of an A100 (128 B and 2,048 FLOP a cycle) 48 cycles of reads for 64 of arithmetic. Global: 16 KiB a step for
// 1 MFLOP, 64 FLOP a byte. Registers: 64 sums, 24 of fragments; 128 at most, so two blocks of 256 threads an SM.
#pragma once

#include <cuda_bf16.h>

#include "kernels/device/pipeline.cuh"

namespace weft::gemm_bf16 {

constexpr int depth = 32, stages = 3;

/// How a block divides its piece of the result: WarpsM x WarpsN warps with 16 FragmentsM rows and 8 FragmentsN columns.
template <int WarpsM, int WarpsN, int FragmentsM, int FragmentsN> struct Tile {
  static constexpr int fragments_m = FragmentsM, fragments_n = FragmentsN;
  static constexpr int warps_n = WarpsN, threads = 32 * WarpsM * WarpsN;
  static constexpr int warp_m = 16 * FragmentsM, warp_n = 8 * FragmentsN;
  static constexpr int M = WarpsM * warp_m, N = WarpsN * warp_n;
  static constexpr int stage_elements = (M + N) * depth;
  static constexpr int shared_elements = stages * stage_elements;
  static_assert(FragmentsN == 4 && shared_elements * 2 <= 48 * 1024);
};
using LargeTile = Tile<2, 4, 4, 4>;  // 128 x 128, 256 threads, 48 KiB
using SmallTile = Tile<2, 2, 2, 4>;  // 64 x 64, 128 threads, 24 KiB

/// Where element `chunk` * 8 of `row` lies in shared memory whose rows hold RowElements (32, 64 or 128).
template <int RowElements> __device__ __forceinline__ int swizzle(int row, int chunk) {
  const int turn = RowElements == 32 ? (row >> 1) & 3 : row & 7;
  return row * RowElements + ((chunk ^ turn) << 3);
}

/// Brings one factor's piece of a step, R x 32 elements, to shared memory in chunks of 8 elements. Each of a block's
/// Threads has `chunks` of them: at fixed places along the contiguous axis, `step` apart along the other one.
/// Aligned: chunks lie in memory as 16 aligned bytes and are inside or outside as a whole. Else element by element.
template <class Operand, int R, int Threads, bool KContiguous, bool Aligned> class Loader {
 public:
  __device__ Loader(const Operand& operand, int first_row, int first_k) : operand_(operand), k_(first_k) {
    const int t = threadIdx.x;
    if constexpr (KContiguous) {
      major_ = t / (depth / 8), chunk_ = t % (depth / 8);
#pragma unroll
      for (int i = 0; i < chunks; ++i) rows_[i] = operand.row(first_row + major_ + i * step);
    } else {
      major_ = t / (R / 8), chunk_ = t % (R / 8);
      rows_[0] = operand.row(first_row + chunk_ * 8);
    }
    first_row_ = first_row;
  }

  /// Starts the copies of the next step; `to` is this factor's part of a stage.
  __device__ void load(__nv_bfloat16* to) {
    if constexpr (KContiguous) {
      const typename Operand::Col col = operand_.col(k_ + chunk_ * 8);
#pragma unroll
      for (int i = 0; i < chunks; ++i) {
        const int row = major_ + i * step;
        copy(to + swizzle<depth>(row, chunk_), rows_[i], col, first_row_ + row, k_ + chunk_ * 8);
      }
    } else {
#pragma unroll
      for (int i = 0; i < chunks; ++i) {
        const int k = major_ + i * step;
        copy(to + swizzle<R>(k, chunk_), rows_[0], operand_.col(k_ + k), first_row_ + chunk_ * 8, k_ + k);
      }
    }
    k_ += depth;
  }

 private:
  static constexpr int chunks = R * depth / 8 / Threads;
  static constexpr int step = KContiguous ? Threads * 8 / depth : Threads * 8 / R;
  static_assert(chunks * Threads * 8 == R * depth);

  __device__ void copy(__nv_bfloat16* to, typename Operand::Row row, typename Operand::Col col, int r, int k) {
    if constexpr (Aligned) {
      const __nv_bfloat16* from = operand_.at(row, col);
      copy_async<16>(to, from ? from : operand_.data, from != nullptr);
    } else {
      __align__(16) __nv_bfloat16 elements[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const __nv_bfloat16* from =
            KContiguous ? operand_.at(row, operand_.col(k + i)) : operand_.at(operand_.row(r + i), col);
        elements[i] = from ? *from : __nv_bfloat16();
      }
      *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(elements);
    }
  }

  const Operand& operand_;
  typename Operand::Row rows_[KContiguous ? chunks : 1];
  int k_, first_row_, major_, chunk_;
};

/// The fragment of the first factor with rows from m and products from k (a multiple of 16) of a stage.
template <int R, bool KContiguous>
__device__ __forceinline__ void load_left(uint32_t (&a)[4], const __nv_bfloat16* stage, int m, int k) {
  const int lane = threadIdx.x % 32;
  if constexpr (KContiguous) {
    load_matrices(a, stage + swizzle<depth>(m + lane % 16, k / 8 + lane / 16));
  } else {
    load_matrices_transposed(a, stage + swizzle<R>(k + lane / 16 * 8 + lane % 8, m / 8 + lane / 8 % 2));
  }
}

/// Two neighbouring fragments of the second factor: columns from n in b[0], b[1], from n + 8 in b[2], b[3].
template <int R, bool KContiguous>
__device__ __forceinline__ void load_right(uint32_t (&b)[4], const __nv_bfloat16* stage, int n, int k) {
  const int lane = threadIdx.x % 32;
  if constexpr (KContiguous) {
    load_matrices(b, stage + swizzle<depth>(n + lane / 16 * 8 + lane % 8, k / 8 + lane / 8 % 2));
  } else {
    load_matrices_transposed(b, stage + swizzle<R>(k + lane % 16, n / 8 + lane / 16));
  }
}

/// sums += the products of k in [k_begin, k_end) for this block's piece at (m0, n0); `shared` holds
/// Tile::shared_elements. Whole steps of 32 are taken, the operands give zeros beyond their depth.
template <class Tile, bool AContiguous, bool BContiguous, bool Aligned, class A, class B>
__device__ void multiply(float (&sums)[Tile::fragments_m][Tile::fragments_n][4], __nv_bfloat16* shared, const A& a,
                         const B& b, int m0, int n0, int k_begin, int k_end) {
  Loader<A, Tile::M, Tile::threads, AContiguous, Aligned> left(a, m0, k_begin);
  Loader<B, Tile::N, Tile::threads, BContiguous, Aligned> right(b, n0, k_begin);
  const int steps = (k_end - k_begin + depth - 1) / depth;
  const int warp = threadIdx.x / 32;
  const int m_warp = warp / Tile::warps_n * Tile::warp_m, n_warp = warp % Tile::warps_n * Tile::warp_n;
  const auto load = [&](int, int stage) {
    left.load(shared + stage * Tile::stage_elements);
    right.load(shared + stage * Tile::stage_elements + Tile::M * depth);
  };
  const auto compute = [&](int, int stage) {
    const __nv_bfloat16 *left_stage = shared + stage * Tile::stage_elements,
                        *right_stage = left_stage + Tile::M * depth;
#pragma unroll
    for (int k = 0; k < depth; k += 16) {
      uint32_t fa[Tile::fragments_m][4], fb[Tile::fragments_n / 2][4];
#pragma unroll
      for (int i = 0; i < Tile::fragments_m; ++i)
        load_left<Tile::M, AContiguous>(fa[i], left_stage, m_warp + 16 * i, k);
#pragma unroll
      for (int j = 0; j < Tile::fragments_n / 2; ++j)
        load_right<Tile::N, BContiguous>(fb[j], right_stage, n_warp + 16 * j, k);
#pragma unroll
      for (int i = 0; i < Tile::fragments_m; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::fragments_n; ++j)
          mma_bf16(sums[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
      }
    }
  };
  pipelined<stages>(steps, load, compute);
}

}  // namespace weft::gemm_bf16
