// Matrix products on the cuda device, for every room that multiplies: y = act(a b + bias + residual).
#pragma once

#include "kernels/activation.h"

namespace weft {

/// Element (i, j) of matrix z of a batch lies at data + z batch_step + i row_step + j column_step. One of the two inner
/// steps is 1. A batch_step of 0 gives every product of the batch the same factor.
struct GemmFactor {
  const void* data;
  int64_t row_step, column_step, batch_step = 0;
};

/// a [batch, m, k], b [batch, k, n] -> y [batch, m, n], in device memory, all elements of `dtype` (f32 or bf16).
struct Gemm {
  DType dtype;
  int64_t batch, m, n, k;
  GemmFactor a, b;
  void* y;
  int64_t y_step;  // between rows of y; columns are neighbours
  int64_t y_batch_step;
  const void* bias = nullptr;      // [n]
  const void* residual = nullptr;  // laid out as y
  Activation activation = Activation::none;
  bool sum_batch = false;  // y [m, n] is the sum over the batch
};

/// Starts the product on weft's stream. Sums are taken in f32; f32 factors are multiplied in f32 (no TF32), bf16
/// factors on tensor cores. Any sizes, steps and alignment: what is not aligned to 16 bytes takes a slower path. The
/// same sizes on the same GPU give the same bits. Nothing to sum (k = 0) gives act(bias + residual).
void gemm_cuda(const Gemm& gemm);

}  // namespace weft
