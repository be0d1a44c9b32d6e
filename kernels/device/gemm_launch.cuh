// The choice of tile and of the number of parts of a sum, and the launch: for plain products and convolutions.
#pragma once

#include "kernels/device/gemm_kernel.cuh"
#include "tensor/cuda.h"

namespace weft {

/// How a product of `batch` results of rows x columns with sums of `depth` is spread over the GPU.
struct GemmPlan {
  bool large;       // tiles of 128 x 128, else 64 x 64
  int splits;       // parts of each sum, in blocks of their own; added up by a second kernel
  int split_depth;  // products a part
};

/// Large tiles where they alone fill the GPU, since they read half as much a product. Sums are split where even small
/// tiles leave multiprocessors idle, in parts of at least 256 products.
inline GemmPlan plan_gemm(int64_t batch, int64_t rows, int64_t columns, int64_t depth, bool aligned) {
  const int64_t processors = cuda::properties().multiprocessors;
  const auto tiles = [&](int64_t size) { return batch * ceil_div(rows, size) * ceil_div(columns, size); };
  GemmPlan plan{aligned && tiles(128) >= processors, 1, 0};
  constexpr int64_t shortest = 256;
  if (!plan.large) {
    const int64_t idle = processors / std::max<int64_t>(tiles(64), 1);
    plan.splits = static_cast<int>(std::clamp<int64_t>(idle, 1, std::max<int64_t>(depth / shortest, 1)));
  }
  plan.split_depth = static_cast<int>(ceil_div(ceil_div<int64_t>(depth, plan.splits), int64_t{32}) * 32);
  plan.splits = static_cast<int>(std::max<int64_t>(1, ceil_div<int64_t>(depth, std::max(plan.split_depth, 1))));
  return plan;
}

/// The grid's last axis ends at 65,535.
constexpr int64_t most_matrices = 65535;

/// Starts the kernel for these operands with the planned tile. y.partial must be set if plan.splits > 1.
template <bool AContiguous, bool BContiguous, class T, class A, class B, class Rows>
void launch_gemm(const char* name, const A& a, const B& b, const Result<T, Rows>& y, int64_t batch,
                 const GemmPlan& plan, bool aligned) {
  const auto start = [&]<class Tile, bool Aligned> {
    const dim3 grid(ceil_div(y.rows, Tile::M), ceil_div(y.columns, Tile::N),
                    static_cast<unsigned>(batch * plan.splits));
    if constexpr (std::is_same_v<T, float>) {
      launch(name, gemm_f32_kernel<Tile, AContiguous, BContiguous, Aligned, A, B, Rows>, grid, Tile::threads, 0, a, b,
             y, plan.splits, plan.split_depth);
    } else {
      launch(name, gemm_bf16_kernel<Tile, AContiguous, BContiguous, Aligned, A, B, Rows>, grid, Tile::threads, 0, a, b,
             y, plan.splits, plan.split_depth);
    }
  };
  using Large = std::conditional_t<std::is_same_v<T, float>, gemm_f32::LargeTile, gemm_bf16::LargeTile>;
  using Small = std::conditional_t<std::is_same_v<T, float>, gemm_f32::SmallTile, gemm_bf16::SmallTile>;
  if (!aligned) {
    start.template operator()<Small, false>();
  } else if (plan.large) {
    start.template operator()<Large, true>();
  } else {
    start.template operator()<Small, true>();
  }
}

/// Adds up `splits` partial results a matrix and finishes them.
template <class T, class Rows> void launch_gemm_sum(const Result<T, Rows>& y, int64_t batch, int64_t splits) {
  constexpr int threads = 256;
  launch("gemm_sum", gemm_sum_kernel<T, Rows>, grid_of(batch * y.rows * y.columns, threads), threads, 0, y,
         static_cast<int>(batch), static_cast<int>(splits));
}

}  // namespace weft
