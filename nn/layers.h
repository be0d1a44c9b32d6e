// Layers: parameters under PyTorch's names, and the op that uses them. Plain structs; operator() reads like the formula. Weights are
// f32 masters; an activation in bf16 is multiplied by their bf16 copy (cast on the tape in training, kept across calls otherwise).
#pragma once

#include <memory>
#include <optional>

#include "kernels/activation.h"
#include "kernels/batch_norm.h"
#include "nn/params.h"

namespace weft {

/// A weight in the dtype of the computation. While gradients are recorded the cast is too; otherwise the copy is made again only
/// after the master changed.
class ComputeWeight {
 public:
  Tensor operator()(const Tensor& master, DType dtype) const;

 private:
  struct Copy {
    Tensor tensor;
    uint64_t version = 0;
  };
  std::shared_ptr<Copy> copy_ = std::make_shared<Copy>();
};

/// y = activation(x weight^T + bias). weight [out, in], bias [out].
struct Linear {
  Tensor weight, bias;
  /// Without `weight_init`: PyTorch's, uniform in +-1/sqrt(in) for both.
  Linear(const Params& p, int64_t in, int64_t out, bool with_bias = true, std::optional<Init> weight_init = std::nullopt);
  Tensor operator()(const Tensor& x, Activation activation = Activation::none) const;

 private:
  ComputeWeight weight_as_, bias_as_;
};

/// Over all axes but the last; with the residual addition and ReLU that may follow (kernels/batch_norm.h).
struct BatchNorm2d {
  Tensor weight, bias, running_mean, running_var, num_batches_tracked;
  BatchNorm2d(const Params& p, int64_t channels);
  Tensor operator()(const Tensor& x, const BatchNormOptions& options = {}, const Tensor& residual = {}) const;
};

/// Rows of weight [count, width] by id. Without weight decay.
struct Embedding {
  Tensor weight;
  Embedding(const Params& p, int64_t count, int64_t width, const Init& weight_init = init::normal(1));
  Tensor operator()(const Tensor& ids) const;
};

}  // namespace weft
