// 1x1 convolutions without groups, channels-last: one product of all pixels with the weights, and what follows it in
// inference (bias, residual, ReLU) while the sums are still in registers. T is float or bf16; sums are in f32.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace weft {

struct PointwiseSizes {
  int64_t n, h, w, c, o, oh, ow, stride;
};

/// Whether the kernel takes these sizes: o a multiple of 32 (16 without AVX-512), and for bf16 an even c and a
/// processor that multiplies pairs.
template <class T> bool pointwise_takes(int64_t c, int64_t o);

/// Weights [O, C] (and any trailing axes of one) as pointwise_conv takes them.
template <class T> Tensor pack_pointwise(const Tensor& weight);

/// x [N, H, W, C], packed weights, bias [O] or null, residual [N, OH, OW, O] or null -> y [N, OH, OW, O] =
/// relu?(x w + bias + residual). A NaN stays one.
template <class T>
void pointwise_conv(const T* x, const T* packed, const T* bias, const T* residual, bool relu, T* y,
                    const PointwiseSizes& s);

}  // namespace weft
