// 3x3 convolutions in groups of 4 or 8 channels (ResNeXt), channels-last, padding 1, stride 1 or 2, as many outputs as
// inputs. oneDNN runs these at a small part of the machine's speed; conv2d.cc says which it leaves to oneDNN. T is
// float or bf16; sums are in f32.
#pragma once

#include <cstdint>

namespace weft {

struct GroupedConvSizes {
  int64_t n, h, w, c, oh, ow;
  int group;   // channels of a group: 4 or 8
  int stride;  // 1 or 2
};

/// x [N, H, W, C], weight [C, group, 3, 3], bias [C] or null -> y [N, OH, OW, C].
template <class T>
void grouped_conv_forward(const T* x, const T* weight, const T* bias, T* y, const GroupedConvSizes& s);
/// dy [N, H, W, C] -> dx [N, H, W, C], for stride 1.
template <class T> void grouped_conv_backward_data(const T* dy, const T* weight, T* dx, const GroupedConvSizes& s);
/// dy [N, OH, OW, C], x [N, H, W, C] -> dw [C, group, 3, 3].
template <class T> void grouped_conv_backward_weights(const T* x, const T* dy, T* dw, const GroupedConvSizes& s);

}  // namespace weft
