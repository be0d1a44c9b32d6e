// Group normalisation (Wu and He, https://arxiv.org/abs/1803.08494): every sample by itself, over its pixels and a group of channels.
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// y = (x - mean) / sqrt(var + eps) * weight + bias with the mean and biased variance of each sample's group of C / groups neighbouring
/// channels. x, y [N, .., C]; weight, bias [C], f32 beside bf16.
Tensor group_norm(const Tensor& x, int groups, const Tensor& weight, const Tensor& bias, double eps = 1e-5);

/// silu(group_norm(x) (1 + scale) + shift) in one pass after the statistics, how a block of a diffusion UNet begins (Nichol
/// and Dhariwal, https://arxiv.org/abs/2102.09672). scale and shift [N, C] in x's dtype, or both undefined. Its backward
/// computes the norm again; only the inputs are kept.
Tensor group_norm_silu(const Tensor& x, int groups, const Tensor& weight, const Tensor& bias, const Tensor& scale = {},
                       const Tensor& shift = {}, double eps = 1e-5);

}  // namespace weft
