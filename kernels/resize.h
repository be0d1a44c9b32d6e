// Images of another size. Pixels are squares with their centres at half-integers; corners are not aligned.
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// x [N, H, W, C] -> y [N, height, width, C] by a triangle filter, as torch.nn.functional.interpolate(mode="bilinear",
/// align_corners=False, antialias=antialias): with antialias the triangle is as wide as the step between outputs where
/// that is more than one pixel, so that shrinking averages; without it two pixels an axis count. Differentiable.
Tensor resize_bilinear(const Tensor& x, int64_t height, int64_t width, bool antialias = true);

/// x [N, H, W, C] -> y [N, height, width, C] by Keys' cubic filter with a = -1/2, stretched by the step where the image
/// shrinks. With `zeros_outside` as ResizeRight (github.com/assafshocher/ResizeRight) does it: the weights sum to 1 over
/// all their taps, of which those outside of the image meet zeros, so that borders darken; without it they sum to 1 over
/// the taps inside. Differentiable.
Tensor resize_cubic(const Tensor& x, int64_t height, int64_t width, bool zeros_outside = true);

/// x [N, H, W, C] -> y [N, height, width, C]: the pixel in which the output's centre lies (torch's
/// mode="nearest-exact", for whole factors also its "nearest"). Differentiable.
Tensor resize_nearest(const Tensor& x, int64_t height, int64_t width);

}  // namespace weft
