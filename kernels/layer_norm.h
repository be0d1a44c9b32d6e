// Layer normalisation along the last axis (Ba, Kiros and Hinton, https://arxiv.org/abs/1607.06450).
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// y = (x - mean) / sqrt(var + eps) * weight + bias with the biased variance of each row. x, y [.., C]; weight, bias [C], f32 beside bf16.
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps = 1e-5);

}  // namespace weft
