// 3x3 convolutions in groups of 4, 8, 16 or 32 channels (ResNeXt), channels-last, padding 1, stride 1 or 2, as many
// outputs as inputs. oneDNN runs most of these at a small part of the machine's speed. T is float or bf16; sums are in
// f32.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace weft {

struct GroupedConvSizes {
  int64_t n, h, w, c, oh, ow;
  int group;   // channels of a group: 4, 8, 16 or 32
  int stride;  // 1 or 2
};

/// Weights [C, group, 3, 3] as the forward takes them or, `gradient`, the gradient of x.
template <class T> Tensor pack_grouped_weights(const Tensor& weight, const GroupedConvSizes& s, bool gradient);

/// x [N, H, W, C], packed weights, bias [C] or null -> y [N, OH, OW, C], with relu (a NaN stays one) if asked for. bf16
/// only where the processor multiplies pairs.
template <class T>
void grouped_conv_forward(const T* x, const T* packed, const T* bias, bool relu, T* y, const GroupedConvSizes& s);
/// dy [N, OH, OW, C], packed weights -> dx [N, H, W, C]. bf16 as above.
template <class T> void grouped_conv_backward_data(const T* dy, const T* packed, T* dx, const GroupedConvSizes& s);
/// dy [N, OH, OW, C], x [N, H, W, C] -> dw [C, group, 3, 3], for groups of 4 or 8.
template <class T> void grouped_conv_backward_weights(const T* x, const T* dy, T* dw, const GroupedConvSizes& s);
/// The same for groups of 16 or 32. bf16 as above.
template <class T> void grouped_conv_backward_wide_weights(const T* x, const T* dy, T* dw, const GroupedConvSizes& s);

}  // namespace weft
