// y = x sigmoid(1.702 x), the activation of OpenAI's CLIP (github.com/openai/CLIP, clip/model.py).
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// x f32, bf16 or f64 of any shape -> y of the same.
Tensor quick_gelu(const Tensor& x);

}  // namespace weft
