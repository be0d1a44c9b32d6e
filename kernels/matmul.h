// y = act(op(a) op(b) + bias), op(m) = m or its transpose; the products of matrices that every layer rests on.
#pragma once

#include "kernels/activation.h"
#include "tensor/tensor.h"

namespace weft {

struct MatmulOptions {
  bool transpose_a = false;
  bool transpose_b = false;
  Activation activation = Activation::none;
};

/// a [.., M, K] ([.., K, M] if transpose_a), b [K, N] or with a's leading axes ([.., N, K] if transpose_b), bias [N] or
/// undefined
/// -> [.., M, N]. All of one dtype; sums are taken in f32 (f64 for f64).
Tensor matmul(const Tensor& a, const Tensor& b, const Tensor& bias = {}, const MatmulOptions& options = {});

/// x [.., in], weight [out, in] as PyTorch stores it, bias [out] or undefined -> act(x weight^T + bias) [.., out].
/// A weight that needs no gradient is packed for oneDNN once and found again until it is modified; the pages of a mapped
/// file that it came from are given back.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, Activation activation = Activation::none);

/// Whether linear() takes an f32 weight beside x of bf16, as it does on the cpu where the weight needs no gradient: it
/// is packed in bf16 without another copy.
bool linear_takes(const Tensor& x, const Tensor& master);

}  // namespace weft
