// Attention on the cuda device; shapes as in kernels/attention.h, f32 or bf16.
#pragma once

#include "kernels/attention.h"

namespace weft {

/// y and lse [B, H, Tq], f32: the log-sum-exp of every row of scores, plus infinity for a row without keys. `offsets` is
/// undefined, or i64 [B + 1] of packed texts (q, k, v and y are [N, H, D]); Tq is then the longest text's, and rows
/// of lse that a text does not have stay as they are.
void attention_forward_cuda(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& offsets,
                            const AttentionOptions& options, const Tensor& y, const Tensor& lse);
/// gradients: dq, dk, dv and, if there is a bias, dbias; what is undefined is not computed.
void attention_backward_cuda(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& offsets,
                             const AttentionOptions& options, const Tensor& y, const Tensor& lse, const Tensor& dy,
                             const Tensors& gradients);

}  // namespace weft
