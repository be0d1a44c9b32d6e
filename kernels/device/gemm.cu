#include "kernels/device/cublas.h"
#include "kernels/device/doors.h"
#include "kernels/device/gemm_product.cuh"

namespace weft {

extern template void product<float>(const Gemm&);
extern template void product<__nv_bfloat16>(const Gemm&);

namespace {

// cuBLAS multiplies; what comes after the sums is done by the kernel that finishes split sums.
template <class T> void product_cublas(const Gemm& g) {
  if (!g.bias && !g.residual && g.activation == Activation::none && !g.sum_batch) return gemm_cublas(g, g.y, true);
  const Tensor sums = Tensor::empty({g.batch, g.m, g.n}, DType::f32, Device::cuda);
  gemm_cublas(g, sums.raw(), false);
  const Result<T, MatrixRows> result{static_cast<T*>(g.y),
                                     static_cast<const T*>(g.bias),
                                     static_cast<const T*>(g.residual),
                                     elements<float>(sums),
                                     g.activation,
                                     static_cast<int>(g.m),
                                     static_cast<int>(g.n),
                                     false,
                                     {g.y_step, g.y_batch_step}};
  launch_gemm_sum(result, g.sum_batch ? 1 : g.batch, g.sum_batch ? g.batch : 1);
}

}  // namespace

void gemm_cuda(const Gemm& gemm) {
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  check(gemm.m <= most && gemm.n <= most && gemm.k <= most - 256,
        "[gemm] m, n and k must be below 2^31 on device cuda but are {}, {} and {}", gemm.m, gemm.n, gemm.k);
  for (const GemmFactor& f : {gemm.a, gemm.b}) {
    check(std::max(f.row_step, f.column_step) <= most,
          "[gemm] the steps of a factor must be below 2^31 on device cuda but are {} and {}", f.row_step,
          f.column_step);
  }
  check(!gemm.sum_batch || gemm.batch <= most_matrices,
        "[gemm] a sum over a batch is of at most {} matrices on device cuda but of {}", most_matrices, gemm.batch);
  if (gemm.m == 0 || gemm.n == 0) return;
  const int64_t size = size_of(gemm.dtype);
  const auto advanced = [size](const void* from, int64_t elements) -> const void* {
    return from ? static_cast<const char*>(from) + elements * size : nullptr;
  };
  for (int64_t first = 0; first < gemm.batch; first += most_matrices) {
    Gemm part = gemm;
    part.batch = std::min(most_matrices, gemm.batch - first);
    part.a.data = advanced(gemm.a.data, first * gemm.a.batch_step);
    part.b.data = advanced(gemm.b.data, first * gemm.b.batch_step);
    part.y = const_cast<void*>(advanced(gemm.y, first * gemm.y_batch_step));
    part.residual = advanced(gemm.residual, first * gemm.y_batch_step);
    on_float(gemm.dtype, [&]<class T> {
      gemm_door() == GemmDoor::cublas&& gemm.k > 0 ? product_cublas<T>(part) : product<T>(part);
    });
  }
}

}  // namespace weft
