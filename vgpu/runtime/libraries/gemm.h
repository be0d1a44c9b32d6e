#pragma once

#include <string>

#include "vgpu/runtime/library_call.h"
#include "vgpu/runtime/libraries/elements.h"

namespace vgpu {

/// Column-major, as cuBLAS has it: element (row, column) lies at row + column * ld.
struct GemmOperand {
  const void* data;
  cudaDataType type;
  int64_t ld;
  int64_t stride;  ///< elements from one matrix of the batch to the next
  bool transposed = false;
};

/// C = alpha * op(A) op(B) + beta * C for every matrix of a batch; op(A) is m x k, op(B) k x n. Sums are
/// taken in f32.
struct Gemm {
  int64_t m, n, k;
  GemmOperand a, b, c;  ///< c is what is read for beta; `to` is written
  void* to;
  float alpha = 1, beta = 0;
  int64_t batch = 1;
  Rounding rounding = Rounding::none;
};

/// Puts the product on the stream. `call` names it in reports.
cudaError_t submit_gemm(cudaStream_t stream, const std::string& call, const Gemm& gemm);

}  // namespace vgpu
