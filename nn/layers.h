// Layers: parameters under PyTorch's names and with its first values, and the op that uses them. Plain structs;
// operator() reads like the formula. Weights are f32 masters; an activation in bf16 is multiplied by their bf16 copy
// (on the tape in training, so that gradients reach the master; kept across calls otherwise). Norms keep their
// parameters in f32.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/batch_norm.h"
#include "kernels/conv2d.h"
#include "nn/params.h"
#include "tensor/philox.h"

namespace weft {

/// A weight in the dtype of the computation. While gradients are recorded the cast is too; otherwise the copy is made
/// again only after the master changed.
class ComputeWeight {
 public:
  /// The master itself if it has that dtype or is undefined.
  Tensor operator()(const Tensor& master, DType dtype) const;
  /// As linear() takes it beside x: the master also where linear() packs it in x's dtype itself.
  Tensor for_linear(const Tensor& master, const Tensor& x) const;

 private:
  struct Copy {
    Tensor tensor;
    uint64_t storage = 0, version = 0;  // of the master that it was made from
  };
  std::shared_ptr<Copy> copy_ = std::make_shared<Copy>();
};

/// y = activation(x weight^T + bias). weight [out, in], bias [out]; x [.., in] -> [.., out].
struct Linear {
  Tensor weight, bias;
  /// First values by default uniform in +-1/sqrt(in) for both.
  Linear(const Params& p, int64_t in, int64_t out, bool with_bias = true,
         std::optional<Init> weight_init = std::nullopt, std::optional<Init> bias_init = std::nullopt);
  Tensor operator()(const Tensor& x, Activation activation = Activation::none) const;

 private:
  ComputeWeight weight_as_, bias_as_;
};

struct BatchNorm2d;

/// Images [N, H, W, in] -> [N, OH, OW, out]. weight [out, in / groups, kernel, kernel], bias [out].
struct Conv2d {
  Tensor weight, bias;
  Conv2dOptions options;
  /// First values by default uniform in +-1/sqrt(in / groups * kernel^2) for both.
  Conv2d(const Params& p, int64_t in, int64_t out, int kernel, const Conv2dOptions& options = {}, bool with_bias = true,
         std::optional<Init> weight_init = std::nullopt);
  /// `again`, if given, makes x once more for the backward (kernels/conv2d.h).
  Tensor operator()(const Tensor& x, std::function<Tensor()> again = {}) const;
  /// relu?(batch norm of the convolution, + residual). Where nothing is recorded and running statistics are used, all
  /// are one convolution, whose folded and packed weight is kept until one of the parameters changes.
  Tensor operator()(const Tensor& x, const BatchNorm2d& norm, bool relu = false, const Tensor& residual = {}) const;

 private:
  struct Folded {
    PackedConv2d weight;
    Tensor bias;
    std::vector<std::pair<uint64_t, uint64_t>> made_from;  // storage and version of the parameters
  };
  ComputeWeight weight_as_, bias_as_;
  std::shared_ptr<Folded> folded_ = std::make_shared<Folded>();
};

/// Over all axes but the last; with the residual addition and ReLU that may follow (kernels/batch_norm.h).
struct BatchNorm2d {
  Tensor weight, bias, running_mean, running_var, num_batches_tracked;
  BatchNorm2d(const Params& p, int64_t channels);
  /// In training also moves the running statistics and counts the batch.
  Tensor operator()(const Tensor& x, const BatchNormOptions& options = {}, const Tensor& residual = {}) const;
};

/// y = (x - mean) / sqrt(var + eps) * weight + bias along the last axis.
struct LayerNorm {
  Tensor weight, bias;
  double eps;
  LayerNorm(const Params& p, int64_t channels, double eps = 1e-5);
  Tensor operator()(const Tensor& x) const;
};

/// y = x / sqrt(mean(x^2) + eps) * weight along the last axis.
struct RmsNorm {
  Tensor weight;
  double eps;
  RmsNorm(const Params& p, int64_t channels, double eps = 1e-6);
  Tensor operator()(const Tensor& x) const;
};

/// Each image and group of channels normalised by its own mean and variance. x [N, H, W, C].
struct GroupNorm {
  int groups;
  Tensor weight, bias;
  double eps;
  GroupNorm(const Params& p, int groups, int64_t channels, double eps = 1e-5);
  Tensor operator()(const Tensor& x) const;
};

/// Rows of weight [count, width] by id: ids [..] i64 -> [.., width] in the dtype of the master. Without weight decay.
struct Embedding {
  Tensor weight;
  Embedding(const Params& p, int64_t count, int64_t width, const Init& weight_init = init::normal(1));
  Tensor operator()(const Tensor& ids) const;
};

struct MultiHeadAttentionOptions {
  int64_t heads = 1;
  int64_t head_width = 0;  // 0: width / heads
  bool bias = true;
  double scale = 0;  // of the scores; 0: 1 / sqrt(head_width)
  std::array<std::string, 4> names{"q_proj", "k_proj", "v_proj", "out_proj"};
};

/// Vaswani et al. 2017, section 3.2.2: softmax(scale q k^T) v in every head, between linear projections.
struct MultiHeadAttention {
  Linear q, k, v, out;
  int64_t heads;
  double scale;
  MultiHeadAttention(const Params& p, int64_t width, const MultiHeadAttentionOptions& options);
  /// x [B, T, width] attends to itself. Mask, bias and causality are the call's; the scale is the layer's.
  Tensor operator()(const Tensor& x, const AttentionOptions& options = {}) const { return (*this)(x, x, options); }
  /// x [B, Tq, width] attends to memory [B, Tk, width].
  Tensor operator()(const Tensor& x, const Tensor& memory, AttentionOptions options) const;
};

/// Zero with probability p, the rest scaled by 1 / (1 - p); the identity outside of training.
struct Dropout {
  double p;
  Random* random;  // the program's generator; must outlive the layer
  Tensor operator()(const Tensor& x) const;
};

/// One layer after another.
struct Sequential {
  std::vector<std::function<Tensor(const Tensor&)>> layers;
  template <class Layer>
  Sequential& add(Layer layer) {
    layers.emplace_back([layer = std::move(layer)](const Tensor& x) { return layer(x); });
    return *this;
  }
  Tensor operator()(Tensor x) const {
    for (const auto& layer : layers) x = layer(x);
    return x;
  }
};

}  // namespace weft
