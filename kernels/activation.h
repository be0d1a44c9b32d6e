// y = f(x) elementwise.
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// x f32, bf16 or f64 of any shape -> y of the same.
Tensor relu(const Tensor& x);       // max(x, 0); NaN stays NaN
Tensor gelu(const Tensor& x);       // x Phi(x), with the error function (PyTorch's default)
Tensor gelu_tanh(const Tensor& x);  // 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
Tensor silu(const Tensor& x);       // x / (1 + exp(-x))
Tensor sigmoid(const Tensor& x);    // 1 / (1 + exp(-x))
Tensor tanh(const Tensor& x);
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);  // log(0) = -infinity, NaN below 0
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);

enum class Activation { none, relu, gelu, gelu_tanh, silu };

/// The activation of that name; `none` returns x itself.
Tensor activate(const Tensor& x, Activation activation);

/// gelu_tanh(a) * b in one pass: the gate of T5 v1.1's feed-forward layer (a = x wi_0, b = x wi_1). One shape and
/// dtype.
Tensor gated_gelu_tanh(const Tensor& a, const Tensor& b);

}  // namespace weft
