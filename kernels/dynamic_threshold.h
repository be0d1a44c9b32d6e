// Imagen's dynamic thresholding (Saharia et al., https://arxiv.org/abs/2205.11487, section 2.3).
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// y[n] = clamp(x[n], -s, s) / s with s = max(1, the q-quantile of |x[n]|), sample by sample. The quantile is
/// torch.quantile's: between the order statistics floor(r) and floor(r) + 1 at rank r = q (count - 1), linearly.
/// x [N, ..] with at least one element a sample, 0 <= q <= 1; no gradient. A NaN ranks above every number and stays NaN.
Tensor dynamic_threshold(const Tensor& x, double q);

}  // namespace weft
