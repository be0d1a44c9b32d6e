// Batch normalisation over all axes but the last (Ioffe and Szegedy, https://arxiv.org/abs/1502.03167), with the residual addition
// and ReLU that follow it in a residual network.
#pragma once

#include "tensor/tensor.h"

namespace weft {

struct BatchNormOptions {
  double eps = 1e-5;
  double momentum = 0.1;  // weight of the new batch in the running statistics
  bool relu = false;
};

/// y = relu?((x - mean) / sqrt(var + eps) * weight + bias + residual). x, residual, y [.., C]; the rest [C], f32 beside bf16.
/// While Training is active the mean and the biased variance of the batch are used, and the running statistics move by `momentum`
/// towards its mean and unbiased variance; that needs at least 2 rows. Otherwise the running statistics are used.
Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean, const Tensor& running_var,
                  const BatchNormOptions& options = {}, const Tensor& residual = {});

}  // namespace weft
