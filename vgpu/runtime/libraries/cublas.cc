// The part of cuBLAS that the virtual GPU has: matrix products. What is asked for and not there is refused by its name.
#include <cublas_v2.h>

#include <algorithm>

#include "vgpu/runtime/errors.h"
#include "vgpu/runtime/libraries/gemm.h"

using namespace vgpu;

struct cublasContext {
  cudaStream_t stream = nullptr;
  cublasMath_t math = CUBLAS_DEFAULT_MATH;
};

namespace {

constexpr int cublas_version = 130000;

// How f32 operands are rounded, and whether the sums are taken in f32 at all.
Rounding rounding_of(cublasHandle_t handle, cublasComputeType_t compute, const char* call) {
  switch (compute) {
    case CUBLAS_COMPUTE_32F: return handle->math & CUBLAS_TF32_TENSOR_OP_MATH ? Rounding::tf32 : Rounding::none;
    case CUBLAS_COMPUTE_32F_PEDANTIC: return Rounding::none;
    case CUBLAS_COMPUTE_32F_FAST_TF32: return Rounding::tf32;
    case CUBLAS_COMPUTE_32F_FAST_16BF: return Rounding::bf16;
    case CUBLAS_COMPUTE_32F_FAST_16F: return Rounding::f16;
    default: refuse(std::string(call) + ": compute type " + std::to_string(compute) + " is not supported");
  }
}

bool transposed(cublasOperation_t operation) { return operation != CUBLAS_OP_N; }

bool supported(cudaDataType a, cudaDataType b, cudaDataType c) {
  return a == b && element_bytes(a) && (c == a || c == CUDA_R_32F);
}

struct Operand {
  const void* data;
  cudaDataType type;
  int ld;
  long long stride;
};

cublasStatus_t product(cublasHandle_t handle, const char* call, cublasOperation_t op_a, cublasOperation_t op_b, int m,
                       int n, int k, const void* alpha, Operand a, Operand b, const void* beta, Operand c, int batch,
                       cublasComputeType_t compute) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  bool ta = transposed(op_a), tb = transposed(op_b);
  if (m < 0 || n < 0 || k < 0 || batch < 0 || !alpha || !beta || a.ld < std::max(1, ta ? k : m) ||
      b.ld < std::max(1, tb ? n : k) || c.ld < std::max(1, m)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (!supported(a.type, b.type, c.type)) {
    refuse(std::string(call) + ": types " + std::to_string(a.type) + ", " + std::to_string(b.type) + ", " +
           std::to_string(c.type) + " are not supported");
  }
  Gemm gemm{m,
            n,
            k,
            {a.data, a.type, a.ld, a.stride, ta},
            {b.data, b.type, b.ld, b.stride, tb},
            {c.data, c.type, c.ld, c.stride, false},
            const_cast<void*>(c.data),
            *static_cast<const float*>(alpha),
            *static_cast<const float*>(beta),
            batch,
            rounding_of(handle, compute, call)};
  if (a.type != CUDA_R_32F) gemm.rounding = Rounding::none;  // they are exact already
  return submit_gemm(handle->stream, call, gemm) == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                                : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // namespace

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  if (!handle) return CUBLAS_STATUS_INVALID_VALUE;
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion_v2(cublasHandle_t, int* version) {
  *version = cublas_version;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetStream_v2(cublasHandle_t handle, cudaStream_t* stream) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  *stream = handle->stream;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  handle->math = mode;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t* mode) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  *mode = handle->math;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t, cublasPointerMode_t mode) {
  if (mode != CUBLAS_POINTER_MODE_HOST)
    refuse("cublasSetPointerMode: alpha and beta in device memory are not supported");
  return CUBLAS_STATUS_SUCCESS;
}

// The host computes: no workspace is needed.
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void*, size_t) {
  return handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m, int n, int k,
                            const void* alpha, const void* a, cudaDataType a_type, int lda, const void* b,
                            cudaDataType b_type, int ldb, const void* beta, void* c, cudaDataType c_type, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t) {
  return product(handle, "cublasGemmEx", op_a, op_b, m, n, k, alpha, {a, a_type, lda, 0}, {b, b_type, ldb, 0}, beta,
                 {c, c_type, ldc, 0}, 1, compute);
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m,
                                          int n, int k, const void* alpha, const void* a, cudaDataType a_type, int lda,
                                          long long stride_a, const void* b, cudaDataType b_type, int ldb,
                                          long long stride_b, const void* beta, void* c, cudaDataType c_type, int ldc,
                                          long long stride_c, int batch, cublasComputeType_t compute,
                                          cublasGemmAlgo_t) {
  return product(handle, "cublasGemmStridedBatchedEx", op_a, op_b, m, n, k, alpha, {a, a_type, lda, stride_a},
                 {b, b_type, ldb, stride_b}, beta, {c, c_type, ldc, stride_c}, batch, compute);
}

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m, int n,
                              int k, const float* alpha, const float* a, int lda, const float* b, int ldb,
                              const float* beta, float* c, int ldc) {
  return product(handle, "cublasSgemm", op_a, op_b, m, n, k, alpha, {a, CUDA_R_32F, lda, 0}, {b, CUDA_R_32F, ldb, 0},
                 beta, {c, CUDA_R_32F, ldc, 0}, 1, CUBLAS_COMPUTE_32F);
}

cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m,
                                         int n, int k, const float* alpha, const float* a, int lda, long long stride_a,
                                         const float* b, int ldb, long long stride_b, const float* beta, float* c,
                                         int ldc, long long stride_c, int batch) {
  return product(handle, "cublasSgemmStridedBatched", op_a, op_b, m, n, k, alpha, {a, CUDA_R_32F, lda, stride_a},
                 {b, CUDA_R_32F, ldb, stride_b}, beta, {c, CUDA_R_32F, ldc, stride_c}, batch, CUBLAS_COMPUTE_32F);
}

const char* cublasGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH: return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_MAPPING_ERROR: return "CUBLAS_STATUS_MAPPING_ERROR";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR: return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    default: return "CUBLAS_STATUS_UNKNOWN";
  }
}

const char* cublasGetStatusString(cublasStatus_t status) { return cublasGetStatusName(status); }

}  // extern "C"
