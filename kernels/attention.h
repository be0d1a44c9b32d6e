// y = softmax(scale q k^T + bias) v for every batch element and head, without holding the scores of a long sequence.
#pragma once

#include "tensor/tensor.h"

namespace weft {

struct AttentionOptions {
  double scale = 1;     // 1 / sqrt(D) for most models, 1 for T5
  bool causal = false;  // query i attends to keys 0 .. i only; needs Tq = Tk
  Tensor mask;  // bool [B, Tk], true = attend; undefined: all keys. A masked key counts as a score of minus infinity
  Tensor bias;  // [H, Tq, Tk], q's dtype, added to the scores of every batch element; undefined: none. Differentiable
};

/// q [B, Tq, H, D], k [B, Tk, H, D], v [B, Tk, H, D] -> y [B, Tq, H, D]. A query with no key to attend to gives zeros
/// and zero gradients. Keys after the last attended one cost nothing, so masks that are true up to a length pay only
/// for the length.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options = {});

/// The same within every text of a batch that has no padding between them: text b is rows [offsets[b], offsets[b + 1])
/// of q, k, v [N, H, D] -> y [N, H, D]. offsets i64 [B + 1] on the cpu, rising from 0 to N. No mask; a bias is
/// [H, T, T] with T at least the longest text. The cuda device has no kernel for it and pads.
Tensor attention_packed(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& offsets,
                        const AttentionOptions& options = {});

}  // namespace weft
