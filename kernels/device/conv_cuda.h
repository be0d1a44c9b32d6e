// The three passes of a convolution on the cuda device, over images [N, H, W, C] and PyTorch's weights [O, C / groups,
// KH, KW]. All tensors f32 or all bf16; none is empty.
#pragma once

#include "tensor/tensor.h"

namespace weft {

struct ConvSizes {
  int64_t n, h, w, c, o, kh, kw, oh, ow, stride, padding, groups;
  bool keep_weights = false;  // the weights do not change from call to call: their packed form is worth keeping
  int64_t cg() const { return c / groups; }
  int64_t og() const { return o / groups; }
};

enum class ConvPass { forward, data, weights };

/// y = x * w + bias (undefined: none), with relu if asked for.
void conv2d_forward_cuda(const Tensor& x, const Tensor& w, const Tensor& bias, bool relu, const Tensor& y,
                         const ConvSizes& s);
/// dx from dz.
void conv2d_backward_data_cuda(const Tensor& dz, const Tensor& w, const Tensor& dx, const ConvSizes& s);
/// dw from x and dz: sums in a fixed order.
void conv2d_backward_weights_cuda(const Tensor& x, const Tensor& dz, const Tensor& dw, const ConvSizes& s);

/// dz = dy where y > 0, else 0.
void relu_mask_cuda(const Tensor& y, const Tensor& dy, const Tensor& dz);

/// folded and bias as fold_batch_norm() returns them.
void fold_batch_norm_cuda(const Tensor& weight, const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                          const Tensor& var, double eps, const Tensor& folded, const Tensor& bias);

}  // namespace weft
