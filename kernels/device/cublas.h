// The door to cuBLAS. Calls used: cublasCreate_v2, cublasSetStream_v2, cublasGemmStridedBatchedEx (bf16 or f32 factors,
// f32 or the factors' type out, CUBLAS_COMPUTE_32F: no TF32), cublasGetStatusString.
#pragma once

#include "kernels/device/gemm.h"

namespace weft {

/// Loads the library, or says why it cannot be.
void load_cublas();

/// y [batch, m, n] = a b in f32 whatever the factors are, rows n apart; or, with `same_type`, of the factors' type,
/// laid out as the problem says. Bias, residual and activation are left to the caller. k > 0.
void gemm_cublas(const Gemm& gemm, void* y, bool same_type);

}  // namespace weft
