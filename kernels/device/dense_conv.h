// Convolutions without groups, channels-last, in f32, for processors without AVX-512, where oneDNN runs them well
// below the machine's speed. Any kernel, stride and padding.
#pragma once

#include "kernels/device/conv_cuda.h"
#include "tensor/tensor.h"

namespace weft {

/// Whether these kernels are made for the processor that this is compiled for.
bool dense_conv_by_hand();

/// Weights [O, C, KH, KW] as the forward takes them or, `gradient`, the gradient of x.
Tensor pack_dense_weights(const Tensor& weight, const ConvSizes& s, bool gradient);

/// x [N, H, W, C], packed weights, bias [O] or null -> y [N, OH, OW, O], with relu (a NaN stays one) if asked for.
void dense_conv_forward(const float* x, const float* packed, const float* bias, bool relu, float* y,
                        const ConvSizes& s);
/// dy [N, OH, OW, O], packed weights -> dx [N, H, W, C].
void dense_conv_backward_data(const float* dy, const float* packed, float* dx, const ConvSizes& s);
/// x [N, H, W, C], dy [N, OH, OW, O] -> dw [O, C, KH, KW].
void dense_conv_backward_weights(const float* x, const float* dy, float* dw, const ConvSizes& s);

}  // namespace weft
