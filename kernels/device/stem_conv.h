// Convolutions of images of few channels (a network's stem: 7x7, stride 2, 3 channels), channels-last, no groups.
// oneDNN runs them far below the machine's speed. T is float or bf16; sums are in f32.
#pragma once

#include <cstdint>

namespace weft {

struct StemConvSizes {
  int64_t n, h, w, c, o, oh, ow, stride, padding;
  int64_t kernel;  // kernel * c = stem_taps
};

/// Numbers of x under one row of a 7x7 kernel over 3 channels: as many sums are kept in registers.
inline constexpr int64_t stem_taps = 21;

/// x [N, H, W, C], weight [O, C, kernel, kernel], bias [O] or null -> y [N, OH, OW, O]; O a multiple of 16.
template <class T> void stem_conv_forward(const T* x, const T* weight, const T* bias, T* y, const StemConvSizes& s);
/// dy [N, OH, OW, O] -> dw [O, C, kernel, kernel]; O a multiple of 16.
template <class T> void stem_conv_backward_weights(const T* x, const T* dy, T* dw, const StemConvSizes& s);

}  // namespace weft
