#include "kernels/device/cublas.h"

#if defined(WEFT_HAS_CUDA) && __has_include(<cublas_v2.h>)

#include <cublas_v2.h>

#include "kernels/device/shared_library.h"
#include "tensor/cuda.h"

namespace weft {

namespace {

struct Cublas {
  decltype(cublasCreate_v2)* create;
  decltype(cublasSetStream_v2)* set_stream;
  // Overloaded in the header, so its type is written out.
  cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int m, int n, int k, const void* alpha,
                         const void* a, cudaDataType, int lda, long long step_a, const void* b, cudaDataType, int ldb,
                         long long step_b, const void* beta, void* c, cudaDataType, int ldc, long long step_c,
                         int batch, cublasComputeType_t, cublasGemmAlgo_t);
  decltype(cublasGetStatusString)* words;
  cublasHandle_t handle = nullptr;

  Cublas() {
    const SharedLibrary library("libcublas.so." + std::to_string(CUBLAS_VER_MAJOR));
    library.get(create, "cublasCreate_v2");
    library.get(set_stream, "cublasSetStream_v2");
    library.get(gemm, "cublasGemmStridedBatchedEx");
    library.get(words, "cublasGetStatusString");
    succeed(create(&handle), "cublasCreate");
    succeed(set_stream(handle, cuda::stream()), "cublasSetStream");
  }
  void succeed(cublasStatus_t status, const char* what) const {
    if (status != CUBLAS_STATUS_SUCCESS) throw std::runtime_error(fmt::format("cuda: {}: {}", what, words(status)));
  }
};

// Never destroyed: the driver may be gone when static objects are.
const Cublas& cublas() {
  static const auto* one = new Cublas;
  return *one;
}

// cuBLAS has columns where we have rows: a row-major matrix is its transpose there, and y' = b' a'.
struct Side {
  cublasOperation_t operation;
  int64_t leading;
};
Side side_of(const GemmFactor& f, int64_t rows, int64_t columns) {
  if (f.column_step == 1) return {CUBLAS_OP_N, rows > 1 ? f.row_step : columns};
  return {CUBLAS_OP_T, columns > 1 ? f.column_step : rows};
}

}  // namespace

void load_cublas() { cublas(); }

void gemm_cublas(const Gemm& g, void* y, bool same_type) {
  const cudaDataType_t type = g.dtype == DType::f32 ? CUDA_R_32F : CUDA_R_16BF;
  const Side left = side_of(g.b, g.k, g.n), right = side_of(g.a, g.m, g.k);
  const float one = 1, zero = 0;
  const int64_t step = same_type ? g.y_step : g.n, batch_step = same_type ? g.y_batch_step : g.m * g.n;
  const auto size = [](int64_t n) { return static_cast<int>(n); };
  const auto status = cublas().gemm(cublas().handle, left.operation, right.operation, size(g.n), size(g.m), size(g.k),
                                    &one, g.b.data, type, size(left.leading), g.b.batch_step, g.a.data, type,
                                    size(right.leading), g.a.batch_step, &zero, y, same_type ? type : CUDA_R_32F,
                                    size(step), batch_step, size(g.batch), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
  cublas().succeed(status, "cublasGemmStridedBatchedEx");
}

}  // namespace weft

#else

namespace weft {

void load_cublas() { check(false, "[gemm] this build has no cublas: it was not found when weft was built"); }
void gemm_cublas(const Gemm&, void*, bool) { load_cublas(); }

}  // namespace weft

#endif
