// Attention on the cuda device; shapes as in kernels/attention.h, f32 or bf16.
#pragma once

#include "kernels/attention.h"

namespace weft {

/// y and lse [B, H, Tq], f32: the log-sum-exp of every row of scores, plus infinity for a row without keys.
void attention_forward_cuda(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                            const Tensor& y, const Tensor& lse);
/// gradients: dq, dk, dv and, if there is a bias, dbias; what is undefined is not computed.
void attention_backward_cuda(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                             const Tensor& y, const Tensor& lse, const Tensor& dy, const Tensors& gradients);

}  // namespace weft
