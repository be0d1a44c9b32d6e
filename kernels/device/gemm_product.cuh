// The host side of plain products, the same for f32 and bf16: gemm_f32.cu and gemm_bf16.cu hold one instance each, so
// that they compile side by side.
#pragma once

#include "kernels/device/gemm.h"
#include "kernels/device/gemm_launch.cuh"
#include "kernels/device/gemm_thin.cuh"

namespace weft {

/// Whether `wide` elements along the contiguous axis always lie in memory as 16 aligned bytes.
template <class T> bool aligned_16(const void* data, int64_t extent, std::initializer_list<int64_t> steps) {
  constexpr int64_t wide = widest<T>;
  bool fits = reinterpret_cast<uintptr_t>(data) % 16 == 0 && extent % wide == 0;
  for (int64_t step : steps) fits = fits && step % wide == 0;
  return fits;
}

/// A factor as an operand: `rows` counts m or n, `step` is between those.
template <class T>
StridedMatrix<T> operand_of(const GemmFactor& f, int64_t rows, int64_t depth, int64_t row_step, int64_t k_step) {
  return {static_cast<const T*>(f.data), row_step, k_step, f.batch_step, static_cast<int>(rows),
          static_cast<int>(depth)};
}

/// Whether a factor may be copied 16 bytes at a time. The f32 kernels turn what is contiguous along k with 4-byte
/// copies, which always fit.
template <class T> bool copies_wide(const StridedMatrix<T>& x) {
  if (x.k_step == 1) return std::is_same_v<T, float> || aligned_16<T>(x.data, x.depth, {x.row_step, x.batch_step});
  return aligned_16<T>(x.data, x.rows, {x.k_step, x.batch_step});
}

template <bool KContiguous, class T> MatrixOperand<T, KContiguous> contiguous(const StridedMatrix<T>& x) {
  return {x.data, x.batch_step, static_cast<int>(KContiguous ? x.row_step : x.k_step), x.rows, x.depth};
}

template <class T>
void thin_product(const StridedMatrix<T>& a, const StridedMatrix<T>& b, const ThinResult<T>& y, int64_t batch) {
  const auto start = [&]<int R> {
    const dim3 dots(ceil_div(y.columns, thin_warps), static_cast<unsigned>(batch));
    if (b.k_step == 1) {
      const bool wide = a.k_step == 1 && aligned_16<T>(a.data, a.depth, {a.row_step, a.batch_step}) &&
                        aligned_16<T>(b.data, b.depth, {b.row_step, b.batch_step});
      on_width<T>(wide, [&]<int V> {
        launch("gemm_thin_dot", gemm_thin_dot_kernel<T, R, V>, dots, 32 * thin_warps, 0, a, b, y);
      });
    } else {
      // 4 bytes a lane: half the columns' neighbours in bf16, so that small matrices still fill the GPU.
      constexpr int pair = 4 / sizeof(T);
      const bool wide = reinterpret_cast<uintptr_t>(b.data) % 4 == 0 && b.rows % pair == 0 && b.k_step % pair == 0 &&
                        b.batch_step % pair == 0;
      const auto sums = [&]<int V> {
        launch("gemm_thin_sum", gemm_thin_sum_kernel<T, R, V>,
               dim3(ceil_div(y.columns, 32 * V), static_cast<unsigned>(batch)), 32 * thin_warps, 0, a, b, y);
      };
      if (wide) {
        sums.template operator()<pair>();
      } else {
        sums.template operator()<1>();
      }
    }
  };
  if (y.rows == 1) {
    start.template operator()<1>();
  } else {
    start.template operator()<4>();
  }
}

/// One launch's worth: batch <= most_matrices.
template <class T> void product(const Gemm& g) {
  const StridedMatrix<T> a = operand_of<T>(g.a, g.m, g.k, g.a.row_step, g.a.column_step);
  const StridedMatrix<T> b = operand_of<T>(g.b, g.n, g.k, g.b.column_step, g.b.row_step);
  const auto *bias = static_cast<const T*>(g.bias), *residual = static_cast<const T*>(g.residual);
  T* const y = static_cast<T*>(g.y);
  constexpr int64_t thin = 4;
  if (!g.sum_batch && (g.m <= thin || g.n <= thin)) {
    if (g.m <= g.n) {
      return thin_product<T>(a, b,
                             {y, bias, residual, g.y_step, 1, g.y_batch_step, 0, 1, g.activation, static_cast<int>(g.m),
                              static_cast<int>(g.n)},
                             g.batch);
    }
    return thin_product<T>(b, a,
                           {y, bias, residual, 1, g.y_step, g.y_batch_step, 1, 0, g.activation, static_cast<int>(g.n),
                            static_cast<int>(g.m)},
                           g.batch);
  }
  const bool aligned = copies_wide(a) && copies_wide(b);
  const GemmPlan plan = g.sum_batch ? GemmPlan{false, 1, static_cast<int>(ceil_div<int64_t>(g.k, 32) * 32)}
                                    : plan_gemm(g.batch, g.m, g.n, g.k, aligned);
  const bool apart = g.sum_batch || plan.splits > 1;
  const Tensor partial = apart ? Tensor::empty({g.batch * plan.splits, g.m, g.n}, DType::f32, Device::cuda) : Tensor();
  const bool vectors = g.n % widest<T> == 0 && aligned_16<T>(g.y, g.n, {g.y_step, g.y_batch_step}) &&
                       reinterpret_cast<uintptr_t>(g.residual) % 16 == 0;
  const Result<T, MatrixRows> result{y,
                                     bias,
                                     residual,
                                     elements<float>(partial),
                                     g.activation,
                                     static_cast<int>(g.m),
                                     static_cast<int>(g.n),
                                     vectors,
                                     {g.y_step, g.y_batch_step}};
  const auto start = [&]<bool AContiguous, bool BContiguous> {
    launch_gemm<AContiguous, BContiguous>("gemm", contiguous<AContiguous>(a), contiguous<BContiguous>(b), result,
                                          g.batch, plan, aligned);
  };
  if (a.k_step == 1) {
    b.k_step == 1 ? start.template operator()<true, true>() : start.template operator()<true, false>();
  } else {
    b.k_step == 1 ? start.template operator()<false, true>() : start.template operator()<false, false>();
  }
  if (apart) {
    launch_gemm_sum(result, g.sum_batch ? 1 : g.batch, g.sum_batch ? g.batch : plan.splits);
  }
}

}  // namespace weft
