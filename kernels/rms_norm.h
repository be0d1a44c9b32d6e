// Root mean square normalisation along the last axis (Zhang and Sennrich, https://arxiv.org/abs/1910.07467), T5's layer norm.
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// y = x / sqrt(mean(x^2) + eps) * weight. x, y [.., C]; weight [C], f32 beside bf16.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps = 1e-6);

}  // namespace weft
