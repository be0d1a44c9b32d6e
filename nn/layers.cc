#include "nn/layers.h"

#include <cmath>

#include "kernels/arithmetic.h"
#include "kernels/cast.h"
#include "kernels/dropout.h"
#include "kernels/embedding.h"
#include "kernels/group_norm.h"
#include "kernels/layer_norm.h"
#include "kernels/matmul.h"
#include "kernels/rms_norm.h"
#include "tensor/autograd.h"
#include "tensor/files/mapped_memory.h"
#include "tensor/host_work.h"

namespace weft {

namespace {

// PyTorch's kaiming_uniform(a = sqrt(5)) comes down to this bound, which its biases use too.
Init default_init(int64_t fan_in) { return init::kaiming_uniform(fan_in, std::sqrt(5.0)); }

}  // namespace

Tensor ComputeWeight::operator()(const Tensor& master, DType dtype) const {
  if (!master.defined() || master.dtype() == dtype) return master;
  if (master.needs_grad()) {
    copy_->tensor = Tensor();  // training changes the master before the copy could be used again
    return cast(master, dtype);
  }
  const Storage& storage = *master.storage();
  if (!copy_->tensor.defined() || copy_->tensor.dtype() != dtype || copy_->storage != storage.id ||
      copy_->version != storage.version) {
    const NoGrad no_grad;
    *copy_ = {cast(master, dtype), storage.id, storage.version};
  }
  return copy_->tensor;
}

Tensor ComputeWeight::for_linear(const Tensor& master, const Tensor& x) const {
  return linear_takes(x, master) ? master : (*this)(master, x.dtype());
}

Linear::Linear(const Params& p, int64_t in, int64_t out, bool with_bias, std::optional<Init> weight_init,
               std::optional<Init> bias_init)
    : weight(p.parameter("weight", {out, in}, weight_init.value_or(default_init(in)))) {
  if (with_bias) bias = p.parameter("bias", {out}, bias_init.value_or(default_init(in)));
}

Tensor Linear::operator()(const Tensor& x, Activation activation) const {
  return linear(x, weight_as_.for_linear(weight, x), bias_as_(bias, x.dtype()), activation);
}

Conv2d::Conv2d(const Params& p, int64_t in, int64_t out, int kernel, const Conv2dOptions& options, bool with_bias,
               std::optional<Init> weight_init)
    : options(options) {
  check(options.groups > 0 && in % options.groups == 0 && out % options.groups == 0,
        "[conv2d] groups must divide the {} input and {} output channels but are {}", in, out, options.groups);
  const int64_t fan_in = in / options.groups * kernel * kernel;
  weight =
      p.parameter("weight", {out, in / options.groups, kernel, kernel}, weight_init.value_or(default_init(fan_in)));
  if (with_bias) bias = p.parameter("bias", {out}, default_init(fan_in));
}

Tensor Conv2d::operator()(const Tensor& x, std::function<Tensor()> again) const {
  return conv2d(x, weight_as_(weight, x.dtype()), bias_as_(bias, x.dtype()), options, std::move(again));
}

Tensor Conv2d::operator()(const Tensor& x, const BatchNorm2d& norm, bool relu, const Tensor& residual) const {
  if (Training::active() || grad_enabled() || options.activation != Activation::none) {
    return norm((*this)(x), {.relu = relu}, residual);
  }
  std::vector<std::pair<uint64_t, uint64_t>> parameters;
  for (const Tensor* t : {&weight, &bias, &norm.weight, &norm.bias, &norm.running_mean, &norm.running_var}) {
    if (t->defined()) parameters.emplace_back(t->storage()->id, t->storage()->version);
  }
  if (folded_->made_from != parameters || folded_->bias.dtype() != x.dtype()) {
    *folded_ = {};
    // A bias of the convolution shifts what the norm sees, as a smaller mean does.
    const Tensor mean = bias.defined() ? sub(norm.running_mean, bias) : norm.running_mean;
    const auto [w, b] = fold_batch_norm(weight, norm.weight, norm.bias, mean, norm.running_var);
    forget_mapped(weight);
    *folded_ = {pack_conv2d(cast(w, x.dtype()), options), cast(b, x.dtype()), std::move(parameters)};
  }
  Conv2dOptions with_relu = options;
  if (relu) with_relu.activation = Activation::relu;
  return conv2d(x, folded_->weight, folded_->bias, with_relu, residual);
}

BatchNorm2d::BatchNorm2d(const Params& p, int64_t channels)
    : weight(p.parameter("weight", {channels}, init::ones())),
      bias(p.parameter("bias", {channels}, init::zeros())),
      running_mean(p.buffer("running_mean", {channels}, 0)),
      running_var(p.buffer("running_var", {channels}, 1)),
      num_batches_tracked(p.buffer("num_batches_tracked", {}, 0, DType::i64, true)) {}

Tensor BatchNorm2d::operator()(const Tensor& x, const BatchNormOptions& options, const Tensor& residual) const {
  const Tensor y = batch_norm(x, weight, bias, running_mean, running_var, options, residual);
  if (Training::active()) {
    on_each_launch([count = num_batches_tracked] { count.fill(count.item() + 1); });
  }
  return y;
}

LayerNorm::LayerNorm(const Params& p, int64_t channels, double eps)
    : weight(p.parameter("weight", {channels}, init::ones())),
      bias(p.parameter("bias", {channels}, init::zeros())),
      eps(eps) {}

Tensor LayerNorm::operator()(const Tensor& x) const { return layer_norm(x, weight, bias, eps); }

RmsNorm::RmsNorm(const Params& p, int64_t channels, double eps)
    : weight(p.parameter("weight", {channels}, init::ones())), eps(eps) {}

Tensor RmsNorm::operator()(const Tensor& x) const { return rms_norm(x, weight, eps); }

GroupNorm::GroupNorm(const Params& p, int groups, int64_t channels, double eps)
    : groups(groups),
      weight(p.parameter("weight", {channels}, init::ones())),
      bias(p.parameter("bias", {channels}, init::zeros())),
      eps(eps) {}

Tensor GroupNorm::operator()(const Tensor& x) const { return group_norm(x, groups, weight, bias, eps); }

Embedding::Embedding(const Params& p, int64_t count, int64_t width, const Init& weight_init)
    : weight(p.parameter("weight", {count, width}, weight_init, false)) {}

Tensor Embedding::operator()(const Tensor& ids) const { return embedding(weight, ids); }

namespace {

int64_t head_width(int64_t width, const MultiHeadAttentionOptions& o) {
  check(o.heads > 0 && (o.head_width > 0 || width % o.heads == 0),
        "[multi_head_attention] the width must be a multiple of the heads but they are {} and {}", width, o.heads);
  return o.head_width > 0 ? o.head_width : width / o.heads;
}

// torch.nn.MultiheadAttention's first values: Glorot's for q, k and v, zero biases.
Linear projection(const Params& p, int64_t width, const MultiHeadAttentionOptions& o, int which) {
  const int64_t inner = o.heads * head_width(width, o);
  if (which == 3) return Linear(p / o.names[3], inner, width, o.bias, std::nullopt, init::zeros());
  return Linear(p / o.names[which], width, inner, o.bias, init::xavier_uniform(width, inner), init::zeros());
}

}  // namespace

MultiHeadAttention::MultiHeadAttention(const Params& p, int64_t width, const MultiHeadAttentionOptions& o)
    : q(projection(p, width, o, 0)),
      k(projection(p, width, o, 1)),
      v(projection(p, width, o, 2)),
      out(projection(p, width, o, 3)),
      heads(o.heads),
      scale(o.scale != 0 ? o.scale : 1 / std::sqrt(static_cast<double>(head_width(width, o)))) {}

Tensor MultiHeadAttention::operator()(const Tensor& x, const Tensor& memory, AttentionOptions options) const {
  check(x.rank() == 3 && memory.rank() == 3,
        "[multi_head_attention] x and memory must be [B, T, width] but have shapes {} and {}", x.shape(),
        memory.shape());
  const auto split = [&](const Tensor& t) { return t.reshape({t.dim(0), t.dim(1), heads, t.dim(2) / heads}); };
  options.scale = scale;
  const Tensor y = attention(split(q(x)), split(k(memory)), split(v(memory)), options);  // [B, Tq, heads, head_width]
  return out(y.reshape({y.dim(0), y.dim(1), heads * y.dim(3)}));
}

Tensor Dropout::operator()(const Tensor& x) const {
  if (p == 0 || !Training::active()) return x;
  check(random != nullptr, "[dropout] a random generator is needed in training");
  return dropout(x, p, *random);
}

}  // namespace weft
