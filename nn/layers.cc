#include "nn/layers.h"

#include <cmath>

#include "kernels/cast.h"
#include "kernels/embedding.h"
#include "kernels/matmul.h"
#include "tensor/autograd.h"

namespace weft {

Tensor ComputeWeight::operator()(const Tensor& master, DType dtype) const {
  if (!master.defined() || master.dtype() == dtype) return master;
  if (master.needs_grad()) return cast(master, dtype);
  if (!copy_->tensor.defined() || copy_->tensor.dtype() != dtype || copy_->version != master.storage()->version) {
    copy_->tensor = cast(master, dtype);
    copy_->version = master.storage()->version;
  }
  return copy_->tensor;
}

Linear::Linear(const Params& p, int64_t in, int64_t out, bool with_bias, std::optional<Init> weight_init)
    : weight(p.parameter("weight", {out, in}, weight_init.value_or(init::kaiming_uniform(in, std::sqrt(5.0))))) {
  if (with_bias) bias = p.parameter("bias", {out}, init::uniform(1 / std::sqrt(static_cast<double>(in))));
}

Tensor Linear::operator()(const Tensor& x, Activation activation) const {
  return linear(x, weight_as_(weight, x.dtype()), bias_as_(bias, x.dtype()), activation);
}

BatchNorm2d::BatchNorm2d(const Params& p, int64_t channels)
    : weight(p.parameter("weight", {channels}, init::ones())),
      bias(p.parameter("bias", {channels}, init::zeros())),
      running_mean(p.buffer("running_mean", {channels}, 0)),
      running_var(p.buffer("running_var", {channels}, 1)),
      num_batches_tracked(p.buffer("num_batches_tracked", {}, 0, DType::i64, true)) {}

Tensor BatchNorm2d::operator()(const Tensor& x, const BatchNormOptions& options, const Tensor& residual) const {
  if (Training::active()) num_batches_tracked.fill(num_batches_tracked.item() + 1);
  return batch_norm(x, weight, bias, running_mean, running_var, options, residual);
}

Embedding::Embedding(const Params& p, int64_t count, int64_t width, const Init& weight_init)
    : weight(p.parameter("weight", {count, width}, weight_init, false)) {}

Tensor Embedding::operator()(const Tensor& ids) const { return embedding(weight, ids); }

}  // namespace weft
