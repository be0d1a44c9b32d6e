// y[n, i, j, o] = act(bias[o] + sum over (c, p, q) of x[n, i stride + p - padding, j stride + q - padding, c] w[o, c,
// p, q])
#pragma once

#include <functional>
#include <utility>

#include "kernels/activation.h"
#include "tensor/tensor.h"

namespace weft {

struct Conv2dOptions {
  int stride = 1;
  int padding = 0;  // zeros on every side
  int groups = 1;   // output channels [g O / groups, ...) see input channels [g C / groups, ...) only
  Activation activation = Activation::none;  // none or relu
};

/// x [N, H, W, C], weight [O, C / groups, KH, KW] (PyTorch's order), bias [O] or undefined -> [N, OH, OW, O] with
/// OH = (H + 2 padding - KH) / stride + 1. All of one dtype; sums are taken in f32 (f64 for f64).
/// The gradient of the weight needs x. With `again`, which makes the same x once more, the tape does not keep it (but for
/// a kernel of 1 x 1 and stride 1).
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Conv2dOptions& options = {},
              std::function<Tensor()> again = {});

/// A weight for inference: on the cpu in the layout of the kernel that will take it, where that is one of ours, so that
/// no other copy need be kept.
struct PackedConv2d {
  Tensor weight;
  Shape shape;          // of the weight that it was made from
  bool packed = false;  // false: weight is that one
};
/// For calls with these options, weight's dtype and its device. weight needs no gradient.
PackedConv2d pack_conv2d(const Tensor& weight, const Conv2dOptions& options = {});

/// Bytes of the form in which the cpu keeps a frozen f32 weight of stride 1 beside the weight, or in its place where that is
/// mapped.
int64_t kept_conv2d_bytes(const Shape& weight);

/// conv2d with `residual` (of y's shape, or undefined) added before the activation. No gradient.
Tensor conv2d(const Tensor& x, const PackedConv2d& weight, const Tensor& bias, const Conv2dOptions& options,
              const Tensor& residual = {});

/// The transpose of conv2d, which makes images larger: every pixel of x adds its kernel to y.
/// y[n, i stride + p - padding, j stride + q - padding, o] += x[n, i, j, c] w[c, o, p, q], then bias[o] everywhere.
/// x [N, H, W, C], weight [C, O, KH, KW] (PyTorch's order), bias [O] or undefined -> [N, OH, OW, O] with
/// OH = (H - 1) stride - 2 padding + KH. All of one dtype; sums are taken in f32 (f64 for f64).
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, int stride = 1,
                        int padding = 0);

/// The weight and bias of one convolution that does what a convolution without bias followed by batch norm does in
/// inference: weight gamma / sqrt(var + eps), beta - mean gamma / sqrt(var + eps). gamma, beta, mean, var [O] of the
/// parameters' dtype beside weight [O, ..]; both results have weight's dtype. No gradient.
std::pair<Tensor, Tensor> fold_batch_norm(const Tensor& weight, const Tensor& gamma, const Tensor& beta,
                                          const Tensor& mean, const Tensor& var, double eps = 1e-5);

}  // namespace weft
