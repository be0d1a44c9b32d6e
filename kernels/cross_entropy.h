// Cross entropy of logits against class numbers, with PyTorch's definitions of class weights, label smoothing and the mean.
#pragma once

#include "tensor/tensor.h"

namespace weft {

struct CrossEntropyOptions {
  double label_smoothing = 0;
  Tensor class_weights = {};  // [C], f32 beside f32 and bf16 logits
  int64_t ignore_index = -100;
};

/// With p = softmax(logits), w the class weights (1 unless given), e the label smoothing, and b over the rows that are not ignored:
///   loss = sum_b ((1 - e) w[label_b] (-log p[b, label_b]) + e / C sum_c w[c] (-log p[b, c])) / sum_b w[label_b]
/// logits [B, C], labels [B] i64 -> [], f32 for f32 and bf16 logits. Labels may be on the cpu whatever the device of the logits, which
/// spares a wait for them. A label outside [0, C) that is not ignore_index is an error that
/// names its row, and so is a batch whose weights sum to zero (where PyTorch gives NaN), such as one with every row ignored.
Tensor cross_entropy(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& options = {});

}  // namespace weft
