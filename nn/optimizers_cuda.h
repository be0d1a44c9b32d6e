// The updates of nn/optimizers.cc on the cuda device, each one kernel over all parameters together. f32 only.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace weft {

/// One parameter's arrays on the device, `count` elements each, and the numbers of its update. What a rule does not use
/// is null or 0.
struct TensorUpdate {
  float* w = nullptr;
  float* g = nullptr;
  float* m = nullptr;
  float* v = nullptr;
  int64_t count = 0;
  float rate = 0, decay = 0, keep = 1, root = 1;
};

/// d = g + decay w; with m: m = momentum m + d, w -= rate (own d + ahead m); without: w -= rate d.
void sgd_cuda(const std::vector<TensorUpdate>& tensors, float momentum, float own, float ahead);
/// d = g + decay w; m, v the running means of d and d^2; w = w keep - rate m / (sqrt(v) / root + eps).
void adam_cuda(const std::vector<TensorUpdate>& tensors, double beta1, double beta2, double eps);
/// m += rest (w - m).
void ema_cuda(const std::vector<TensorUpdate>& tensors, float rest);
/// g *= factor.
void scale_gradients_cuda(const std::vector<TensorUpdate>& tensors, float factor);
/// The sum of g^2 of each tensor, in f64 in a fixed order. Waits for the device.
std::vector<double> gradient_squares_cuda(const std::vector<TensorUpdate>& tensors);

}  // namespace weft
