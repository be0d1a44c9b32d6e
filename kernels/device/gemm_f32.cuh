// The main loop of every f32 product: plain fused multiply-adds (no TF32), 8 x 8 sums a thread.
//
// A block computes a Tile::M x Tile::N piece of the result; thread (ty, tx) has rows 4 ty .. 4 ty + 3 and M / 2 + 4 ty
// .., columns 4 tx .. and N / 2 + 4 tx .. A warp is 4 (ty) x 8 (tx) threads: its 128-bit reads of a row of the second
// factor cover 128 bytes a quarter warp, those of the first one are broadcasts. The sum runs in steps of 16, the copies
// of the next step under way in the other of two stages.
//
// Shared memory holds both factors as [16][R + 4]. What is contiguous along r arrives 16 bytes at a time; what is
// contiguous along k is turned on the way by 4-byte copies, 8 k x 4 r a warp: whole 32-byte sectors of global memory,
// and because of the 4 floats of padding 32 different banks.
//
// Napkin maths for 128 x 128: per k and thread 64 multiply-adds for 4 128-bit shared reads, per step 1,024 for 64 and
// 16 copies. An SM (128 multiply-adds and 128 B a cycle) needs 4 x 8 warps x 4 x 128 B / 128 = 128 wavefronts at most
// for 128 cycles of arithmetic a k. Global: 16 KiB a step for 524 kFLOP, 32 FLOP a byte. Registers: 64 sums, 16
// factors, 128 at most.
#pragma once

#include "kernels/device/pipeline.cuh"

namespace weft::gemm_f32 {

constexpr int depth = 16, stages = 2, padding = 4;

template <int Rows, int Columns> struct Tile {
  static constexpr int M = Rows, N = Columns, threads = M / 8 * N / 8, warps_n = N / 64;
  static constexpr int blocks = M == 128 ? 2 : 6;  // a multiprocessor, which leaves a thread 128 and 170 registers
  static constexpr int stage_elements = depth * (M + N + 2 * padding);
  static constexpr int shared_elements = stages * stage_elements;
  static_assert(N % 64 == 0 && threads % 32 == 0 && shared_elements * 4 <= 48 * 1024);
};
using LargeTile = Tile<128, 128>;  // 256 threads, 33 KiB
using SmallTile = Tile<64, 64>;    // 64 threads, 17 KiB

/// This thread's place in the block's grid of 8 x 8 pieces.
template <class Tile> struct Place {
  int tx, ty;
  __device__ Place() {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    tx = warp % Tile::warps_n * 8 + lane % 8;
    ty = warp / Tile::warps_n * 4 + lane / 8;
  }
  __device__ int row(int i) const { return i < 4 ? 4 * ty + i : Tile::M / 2 + 4 * ty + i - 4; }
  __device__ int column(int j) const { return j < 4 ? 4 * tx + j : Tile::N / 2 + 4 * tx + j - 4; }
};

/// Brings one factor's piece of a step, R x 16 elements, to shared memory as [16][R + padding].
/// Aligned: four elements along r lie in memory as 16 aligned bytes and are inside or outside as a whole.
template <class Operand, int R, int Threads, bool KContiguous, bool Aligned> class Loader {
 public:
  /// `to` is this factor's part of the first stage.
  __device__ Loader(const Operand& operand, const float* to, int first_row, int first_k) : operand_(operand) {
    const int t = threadIdx.x, k = KContiguous ? t % 8 : t / (R / width),
              r = KContiguous ? t / 8 : t % (R / width) * width;
    k_ = first_k + k;
    address_ = shared_address(to + k * row_elements + r);
#pragma unroll
    for (int i = 0; i < rows; ++i) rows_[i] = operand.row(first_row + r + i * r_step);
  }

  /// Starts the copies of the next step into the stage that begins `offset` elements after the first one.
  __device__ void load(int offset) {
#pragma unroll(KContiguous ? 1 : depth)
    for (int k = 0; k < depth; k += k_step) {
      const typename Operand::Col col = operand_.col(k_ + k);
#pragma unroll
      for (int i = 0; i < rows; ++i) {
        const float* from = operand_.at(rows_[i], col);
        copy_async<4 * width>(address_ + 4 * (offset + k * row_elements + i * r_step), from ? from : operand_.data,
                              from != nullptr);
      }
    }
    k_ += depth;
  }

 private:
  static constexpr int row_elements = R + padding;
  static constexpr int width = !KContiguous && Aligned ? 4 : 1;  // elements a copy
  static constexpr int r_step = Threads / 8, rows = KContiguous ? R / r_step : 1;
  static constexpr int k_step = KContiguous ? 8 : Threads * width / R;
  static_assert(k_step > 0 && depth % k_step == 0);

  const Operand& operand_;
  typename Operand::Row rows_[rows];
  uint32_t address_;
  int k_;
};

/// sums += the products of k in [k_begin, k_end) for this block's piece at (m0, n0); `shared` holds
/// Tile::shared_elements, 16-byte aligned. Whole steps are taken, the operands give zeros beyond their depth.
template <class Tile, bool AContiguous, bool BContiguous, bool Aligned, class A, class B>
__device__ void multiply(float (&sums)[8][8], float* shared, const A& a, const B& b, int m0, int n0, int k_begin,
                         int k_end) {
  constexpr int right_tile = depth * (Tile::M + padding);
  Loader<A, Tile::M, Tile::threads, AContiguous, Aligned> load_a(a, shared, m0, k_begin);
  Loader<B, Tile::N, Tile::threads, BContiguous, Aligned> load_b(b, shared + right_tile, n0, k_begin);
  const Place<Tile> place;
  const auto load = [&](int, int stage) {
    load_a.load(stage * Tile::stage_elements);
    load_b.load(stage * Tile::stage_elements);
  };
  const auto read = [](float(&to)[8], const float* from, int half) {
    *reinterpret_cast<float4*>(to) = *reinterpret_cast<const float4*>(from);
    *reinterpret_cast<float4*>(to + 4) = *reinterpret_cast<const float4*>(from + half);
  };
  const auto compute = [&](int, int stage) {
    const float *left_stage = shared + stage * Tile::stage_elements + 4 * place.ty,
                *right_stage = shared + stage * Tile::stage_elements + right_tile + 4 * place.tx;
#pragma unroll
    for (int k = 0; k < depth; ++k) {
      __align__(16) float fa[8], fb[8];
      read(fa, left_stage + k * (Tile::M + padding), Tile::M / 2);
      read(fb, right_stage + k * (Tile::N + padding), Tile::N / 2);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[i][j] = fmaf(fa[i], fb[j], sums[i][j]);
      }
    }
  };
  pipelined<stages>((k_end - k_begin + depth - 1) / depth, load, compute);
}

}  // namespace weft::gemm_f32
