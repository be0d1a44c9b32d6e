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

/// A lane's place in a tile with rows of RowElements: its address for matrices that begin some rows (a multiple of 8)
/// and columns (a multiple of 16) further on costs one xor and one addition. In bytes from the tile's beginning.
template <int RowElements> class SwizzledPlace {
 public:
  __device__ SwizzledPlace(int row, int chunk) : bytes_(2 * swizzle<RowElements>(row, chunk)) {}
  __device__ uint32_t at(int rows, int columns) const { return (bytes_ ^ (2 * columns)) + rows * RowElements * 2; }

 private:
  uint32_t bytes_;
};

/// Brings one factor's piece of a step, R x 32 elements, to shared memory in chunks of 8 elements. Each of a block's
/// Threads has `chunks` of them: at fixed places along the contiguous axis, `step` apart along the other one.
/// Aligned: chunks lie in memory as 16 aligned bytes and are inside or outside as a whole. Else element by element.
template <class Operand, int R, int Threads, bool KContiguous, bool Aligned> class Loader {
 public:
  /// `to` is this factor's part of the first stage.
  __device__ Loader(const Operand& operand, __nv_bfloat16* to, int first_row, int first_k) : operand_(operand) {
    const int chunk = threadIdx.x % (row_elements / 8), major = threadIdx.x / (row_elements / 8);
    to_ = to + swizzle<row_elements>(major, chunk);
    address_ = shared_address(to_);
    if constexpr (KContiguous) {
      r_ = first_row + major, k_ = first_k + chunk * 8;
#pragma unroll
      for (int i = 0; i < chunks; ++i) rows_[i] = operand.row(r_ + i * step);
    } else {
      r_ = first_row + chunk * 8, k_ = first_k + major;
      rows_[0] = operand.row(r_);
    }
  }

  /// Starts the copies of the next step into the stage that begins `offset` elements after the first one.
  __device__ void load(int offset) {
    if constexpr (KContiguous) {
      const typename Operand::Col col = operand_.col(k_);
#pragma unroll
      for (int i = 0; i < chunks; ++i) copy(offset, i, rows_[i], col, r_ + i * step, k_);
    } else {
#pragma unroll
      for (int i = 0; i < chunks; ++i) copy(offset, i, rows_[0], operand_.col(k_ + i * step), r_, k_ + i * step);
    }
    k_ += depth;
  }

 private:
  static constexpr int chunks = R * depth / 8 / Threads, row_elements = KContiguous ? depth : R;
  static constexpr int step = Threads * 8 / row_elements;
  // A multiple of 8 rows does not change the swizzle.
  static_assert(chunks * Threads * 8 == R * depth && step % 8 == 0);

  __device__ void copy(int offset, int i, typename Operand::Row row, typename Operand::Col col, int r, int k) {
    offset += i * step * row_elements;
    if constexpr (Aligned) {
      const __nv_bfloat16* from = operand_.at(row, col);
      copy_async<16>(address_ + 2 * offset, from ? from : operand_.data, from != nullptr);
    } else {
      __align__(16) __nv_bfloat16 elements[8];
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const __nv_bfloat16* from =
            KContiguous ? operand_.at(row, operand_.col(k + e)) : operand_.at(operand_.row(r + e), col);
        elements[e] = from ? *from : __nv_bfloat16();
      }
      __syncwarp();  // lanes that skipped loads would store on their own
      *reinterpret_cast<uint4*>(to_ + offset) = *reinterpret_cast<const uint4*>(elements);
    }
  }

  const Operand& operand_;
  typename Operand::Row rows_[KContiguous ? chunks : 1];
  __nv_bfloat16* to_;
  uint32_t address_;
  int k_, r_;
};

/// Reads fragments of one factor: 16 x 16 pieces, whichever way the tile lies.
template <int R, bool KContiguous> class Fragments {
 public:
  /// For the first factor (rows from `first` on) or the second one (columns).
  __device__ Fragments(bool left, int first) : place_(row(left, first), chunk(left, first)) {}

  /// The fragment that begins 16 i rows or columns further on, at k (a multiple of 16). First factor: as mma_bf16()
  /// takes it. Second factor: to[0], to[1] are b0, b1 of eight columns, to[2], to[3] those of the next eight.
  __device__ void load(uint32_t (&to)[4], uint32_t tile, int i, int k) const {
    if constexpr (KContiguous) {
      load_matrices(to, tile + place_.at(16 * i, k));
    } else {
      load_matrices_transposed(to, tile + place_.at(k, 16 * i));
    }
  }

 private:
  __device__ static int lane() { return threadIdx.x % 32; }
  // Matrices 1 and 2 of a first factor are those of eight rows more and of eight k more; of a second factor the
  // reverse.
  __device__ static int low() { return lane() % 16; }
  __device__ static int high() { return lane() / 16 * 8 + lane() % 8; }
  __device__ static int row(bool left, int first) {
    return (KContiguous ? first : 0) + (left == KContiguous ? low() : high());
  }
  __device__ static int chunk(bool left, int first) {
    return (KContiguous ? 0 : first / 8) + (left == KContiguous ? lane() / 16 : lane() / 8 % 2);
  }
  SwizzledPlace<KContiguous ? depth : R> place_;
};

/// sums += the products of k in [k_begin, k_end) for this block's piece at (m0, n0); `shared` holds
/// Tile::shared_elements. Whole steps of 32 are taken, the operands give zeros beyond their depth.
template <class Tile, bool AContiguous, bool BContiguous, bool Aligned, class A, class B>
__device__ void multiply(float (&sums)[Tile::fragments_m][Tile::fragments_n][4], __nv_bfloat16* shared, const A& a,
                         const B& b, int m0, int n0, int k_begin, int k_end) {
  constexpr int right_tile = Tile::M * depth;
  Loader<A, Tile::M, Tile::threads, AContiguous, Aligned> load_a(a, shared, m0, k_begin);
  Loader<B, Tile::N, Tile::threads, BContiguous, Aligned> load_b(b, shared + right_tile, n0, k_begin);
  const int warp = threadIdx.x / 32;
  const Fragments<Tile::M, AContiguous> left(true, warp / Tile::warps_n * Tile::warp_m);
  const Fragments<Tile::N, BContiguous> right(false, warp % Tile::warps_n * Tile::warp_n);
  const uint32_t first_stage = shared_address(shared);
  const auto load = [&](int, int stage) {
    load_a.load(stage * Tile::stage_elements);
    load_b.load(stage * Tile::stage_elements);
  };
  const auto compute = [&](int, int stage) {
    const uint32_t tile_a = first_stage + 2 * stage * Tile::stage_elements, tile_b = tile_a + 2 * right_tile;
#pragma unroll
    for (int k = 0; k < depth; k += 16) {
      uint32_t fa[Tile::fragments_m][4], fb[Tile::fragments_n / 2][4];
#pragma unroll
      for (int i = 0; i < Tile::fragments_m; ++i) left.load(fa[i], tile_a, i, k);
#pragma unroll
      for (int j = 0; j < Tile::fragments_n / 2; ++j) right.load(fb[j], tile_b, j, k);
#pragma unroll
      for (int i = 0; i < Tile::fragments_m; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::fragments_n; ++j)
          mma_bf16(sums[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
      }
    }
  };
  pipelined<stages>((k_end - k_begin + depth - 1) / depth, load, compute);
}

}  // namespace weft::gemm_bf16
