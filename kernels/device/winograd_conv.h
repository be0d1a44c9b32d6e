// 3x3 convolutions of stride 1 without groups, channels-last, in f32, by Winograd's F(2x2, 3x3) (Lavin and Gray, 2015,
// arXiv:1509.09308): 16 products instead of 36 for 4 pixels of the result, at about twice the rounding error. An
// infinity in x makes NaN of all 4 pixels of a tile that reaches it.
#pragma once

#include "kernels/device/conv_cuda.h"
#include "tensor/tensor.h"

namespace weft {

/// Whether that pass of these sizes is for these kernels, on the processor that this is compiled for.
bool winograd_takes(const ConvSizes& s, ConvPass pass);

/// Weights [O, C, 3, 3] as the forward takes them or, `gradient`, the gradient of x.
Tensor pack_winograd_weights(const Tensor& weight, const ConvSizes& s, bool gradient);

/// x [N, H, W, C], packed weights, bias [O] or null -> y [N, OH, OW, O], with relu (a NaN stays one) if asked for.
void winograd_conv_forward(const float* x, const float* packed, const float* bias, bool relu, float* y,
                           const ConvSizes& s);
/// dy [N, OH, OW, O], packed weights -> dx [N, H, W, C].
void winograd_conv_backward_data(const float* dy, const float* packed, float* dx, const ConvSizes& s);
/// x [N, H, W, C], dy [N, OH, OW, O] -> dw [O, C, 3, 3].
void winograd_conv_backward_weights(const float* x, const float* dy, float* dw, const ConvSizes& s);

}  // namespace weft
