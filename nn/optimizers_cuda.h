// The updates of nn/optimizers.cc on the cuda device, each one kernel over all parameters together. f32 only.
#pragma once

#include <cstdint>
#include <functional>
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

/// The list of an update, with pointers and counts that stay. Called again before each launch of a graph that the
/// update is part of, after what came before it in the host's part of the step.
using TensorUpdates = std::function<std::vector<TensorUpdate>()>;

/// d = g + decay w; with m: m = momentum m + d, w -= rate (own d + ahead m); without: w -= rate d.
void sgd_cuda(const TensorUpdates& tensors, float momentum, float own, float ahead);
/// d = g + decay w; m, v the running means of d and d^2; w = w keep - rate m / (sqrt(v) / root + eps).
void adam_cuda(const TensorUpdates& tensors, double beta1, double beta2, double eps);
/// m += rate (w - m).
void ema_cuda(const TensorUpdates& tensors);
/// found f64 [2], on the device: the norm of all g together, its sum taken in f64 in a fixed order, and the number of
/// the first tensor whose g is not finite, or -1. Where it is -1 and the norm is above max_norm, g *= max_norm / norm.
void clip_gradients_cuda(const TensorUpdates& tensors, double max_norm, const Tensor& found);

}  // namespace weft
