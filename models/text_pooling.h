// How the hidden states of a text become its features.
#pragma once

#include "tensor/tensor.h"

namespace weft {

enum class TextPooling {
  flatten,  // all positions side by side, times the mask: GLAMI-1M's way, [T * d_model]
  mean,     // the average over the tokens, [d_model]
};

/// Hidden states [B, T, D] and mask bool [B, T] (true = a token) -> [B, T * D], or the mean [B, D], which is zero for a
/// text without tokens.
Tensor pool_text(const Tensor& hidden, const Tensor& mask, TextPooling pooling);

}  // namespace weft
