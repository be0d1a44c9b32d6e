#include "models/unet_blocks.h"

#include <cmath>

#include "kernels/arithmetic.h"
#include "kernels/arrange.h"
#include "kernels/cast.h"
#include "kernels/group_norm.h"
#include "kernels/layer_norm.h"
#include "kernels/matmul.h"
#include "kernels/softmax.h"
#include "tensor/recompute.h"

namespace weft {

namespace {

constexpr double norm_eps = 1e-5;

// Row `which` of null_kv [2, D] as [B, 1, heads, D] in the dtype of the computation.
Tensor null_token(const Tensor& null_kv, int which, int64_t B, int64_t heads, DType dtype) {
  const int64_t D = null_kv.dim(1);
  const Tensor row = cast(null_kv.leading(which, which + 1), dtype).reshape({1, 1, 1, D});
  return add(Tensor::zeros({B, 1, heads, D}, dtype, null_kv.device()), row);
}

// [B, H, W, C] -> [B, H W, C].
Tensor as_tokens(const Tensor& x) { return x.reshape({x.dim(0), x.dim(1) * x.dim(2), x.dim(3)}); }

}  // namespace

GammaNorm::GammaNorm(const Params& p, int64_t channels)
    : gamma(p.parameter("gamma", {channels}, init::ones())), beta(p.buffer("beta", {channels}, 0)) {}

Tensor GammaNorm::operator()(const Tensor& x) const { return layer_norm(x, gamma, beta, norm_eps); }

ChannelNorm::ChannelNorm(const Params& p, int64_t channels)
    : g(p.parameter("g", {1, channels, 1, 1}, init::ones(), false)),
      zero(Tensor::zeros({channels}, g.dtype(), g.device())) {}

Tensor ChannelNorm::operator()(const Tensor& x) const { return layer_norm(x, g.reshape({g.numel()}), zero, norm_eps); }

CrossAttention::CrossAttention(const Params& p, int64_t width, int64_t context_width, int number)
    : null_kv(p.parameter("null_kv", {2, head_width}, init::normal(1), false)),
      norm(p / "norm", width),
      to_q(p / "to_q", width, heads * head_width, false),
      to_kv(p / "to_kv", context_width, 2 * heads * head_width, false),
      out(p / "to_out" / 0, heads * head_width, width, false),
      out_norm(p / "to_out" / 1, width),
      number(number) {}

Tensor CrossAttention::operator()(const Tensor& x, const UnetContext& c) const {
  const int64_t B = x.dim(0), inner = heads * head_width;
  const Tensor text = c.text_keys_values ? (*c.text_keys_values)[number] : to_kv(c.text_tokens);
  const Tensor kv = concat({to_kv(c.time_tokens), text}, 1);  // [B, n, 2 inner]
  const auto with_null = [&](int which) {
    const Tensor part = slice(kv, 2, which * inner, (which + 1) * inner);
    return concat({null_token(null_kv, which, B, heads, x.dtype()), part.reshape({B, kv.dim(1), heads, head_width})},
                  1);
  };
  const Tensor q = to_q(norm(as_tokens(x)));
  AttentionOptions options;
  options.scale = 1 / std::sqrt(static_cast<double>(head_width));
  const Tensor y = attention(q.reshape({B, q.dim(1), heads, head_width}), with_null(0), with_null(1), options);
  return out_norm(out(y.reshape({B, q.dim(1), inner}))).reshape(x.shape());
}

SelfAttention::SelfAttention(const Params& p, int64_t width, int64_t heads, int64_t head_width)
    : null_kv(p.parameter("null_kv", {2, head_width}, init::normal(1), false)),
      norm(p / "norm", width),
      to_q(p / "to_q", width, heads * head_width, false),
      to_kv(p / "to_kv", width, 2 * head_width, false),
      out(p / "to_out" / 0, heads * head_width, width, false),
      out_norm(p / "to_out" / 1, width),
      heads(heads),
      head_width(head_width) {}

Tensor SelfAttention::operator()(const Tensor& x) const {
  const int64_t B = x.dim(0), n = x.dim(1) * x.dim(2);
  const Tensor normed = norm(as_tokens(x)), q = to_q(normed), kv = to_kv(normed);
  const auto with_null = [&](int which) {
    const Tensor part = slice(kv, 2, which * head_width, (which + 1) * head_width);
    return concat({null_token(null_kv, which, B, 1, x.dtype()), part.reshape({B, n, 1, head_width})}, 1);
  };
  AttentionOptions options;
  options.scale = 1 / std::sqrt(static_cast<double>(head_width));
  // All heads see the same keys, so they are so many more queries of one head.
  const Tensor y = attention(q.reshape({B, n * heads, 1, head_width}), with_null(0), with_null(1), options);
  return out_norm(out(y.reshape({B, n, heads * head_width}))).reshape(x.shape());
}

TransformerBlock::TransformerBlock(const Params& p, int64_t width, int64_t heads, int64_t head_width, int64_t multiple)
    : attention(p / "attn" / "fn", width, heads, head_width),
      norm(p / "ff" / 0, width),
      hidden_norm(p / "ff" / 3, width * multiple),
      up(p / "ff" / 1, width, width * multiple, 1, {}, false),
      down(p / "ff" / 4, width * multiple, width, 1, {}, false) {}

Tensor TransformerBlock::operator()(const Tensor& x) const {
  const Tensor attended = add(attention(x), x);
  const auto gelu_norm = [zero = hidden_norm.zero](const Tensors& in) {
    return layer_norm(gelu(in[0]), in[1].reshape({in[1].numel()}), zero, norm_eps);
  };
  const Tensor hidden = recompute("gelu_norm", {up(norm(attended)), hidden_norm.g}, gelu_norm);
  return add(down(hidden), attended);
}

GlobalContext::GlobalContext(const Params& p, int64_t channels)
    : to_k(p / "to_k", channels, 1, 1),
      squeeze(p / "net" / 0, channels, std::max<int64_t>(3, channels / 2), 1),
      expand(p / "net" / 2, std::max<int64_t>(3, channels / 2), channels, 1) {}

Tensor GlobalContext::operator()(const Tensor& x) const {
  const int64_t B = x.dim(0), n = x.dim(1) * x.dim(2);
  const Tensor weights = softmax(to_k(x).reshape({B, 1, n}));
  const Tensor pooled = matmul(weights, as_tokens(x)).reshape({B, 1, 1, x.dim(3)});
  return sigmoid(expand(silu(squeeze(pooled))));
}

ConvBlock::ConvBlock(const Params& p, int64_t in, int64_t out, int groups)
    : norm(p / "groupnorm", groups, in), project(p / "project", in, out, 3, {.padding = 1}) {}

Tensor ConvBlock::operator()(const Tensor& x, const Tensor& scale, const Tensor& shift) const {
  // x is kept for the norm's gradient; what the convolution sees is made of it again rather than kept, too.
  const auto normed = [groups = norm.groups, eps = norm.eps](const Tensors& t) {
    return group_norm_silu(t[0], groups, t[1], t[2], t[3], t[4], eps);
  };
  const Tensors inputs{x, norm.weight, norm.bias, scale, shift};
  std::function<Tensor()> again;
  if (grad_enabled()) {
    Tensors kept;
    for (const Tensor& t : inputs) kept.push_back(t ? t.detach() : t);
    again = [normed, kept] { return normed(kept); };
  }
  return project(normed(inputs), std::move(again));
}

ResnetBlock::ResnetBlock(const Params& p, int64_t in, int64_t out, const ResnetBlockOptions& o, int& cross_attentions)
    : time_mlp(p / "time_mlp" / 1, o.time_width, 2 * out),
      block1(p / "block1", in, out, o.groups),
      block2(p / "block2", out, out, o.groups),
      skip_scale(o.scale_skip ? 1 / std::sqrt(2.0) : 1) {
  if (o.context_width) {
    cross_attention.emplace(p / "cross_attn" / "fn", out, *o.context_width, cross_attentions++);
  }
  if (o.global_context) global_context.emplace(p / "gca", out);
  if (in != out) skip.emplace(p / "res_conv", in, out, 1);
}

Tensor ResnetBlock::operator()(const Tensor& x, const UnetContext& context) const {
  const Tensor e = time_mlp(silu(context.time));  // [B, 2 out]
  const int64_t out = e.dim(1) / 2;
  const auto part = [&](int i) { return slice(e, 1, i * out, (i + 1) * out); };
  Tensor h = block1(x);
  if (cross_attention) h = add((*cross_attention)(h, context), h);
  h = block2(h, part(0), part(1));
  if (global_context) h = mul(h, (*global_context)(h));
  if (skip) return add(h, (*skip)(x));
  return add(h, skip_scale == 1 ? x : mul(x, skip_scale));
}

CrossEmbed::CrossEmbed(const Params& p, int64_t in, int64_t out) {
  const int64_t widths[] = {out / 2, out / 4, out - out / 2 - out / 4};
  const int kernels[] = {3, 7, 15};
  for (int i = 0; i < 3; ++i) {
    convs.emplace_back(p / "convs" / i, in, widths[i], kernels[i], Conv2dOptions{.padding = kernels[i] / 2});
  }
}

Tensor CrossEmbed::operator()(const Tensor& x) const { return concat({convs[0](x), convs[1](x), convs[2](x)}, 3); }

Conv2d downsample(const Params& p, int64_t channels, int64_t out) {
  return Conv2d(p, channels, out, 4, {.stride = 2, .padding = 1});
}

Upsample::Upsample(const Params& p, int64_t channels) {
  const Init bound = init::kaiming_uniform(channels * 16, std::sqrt(5.0));
  weight = p.parameter("weight", {channels, channels, 4, 4}, bound);
  bias = p.parameter("bias", {channels}, bound);
}

Tensor Upsample::operator()(const Tensor& x) const {
  return conv_transpose2d(x, weight_as_(weight, x.dtype()), bias_as_(bias, x.dtype()), 2, 1);
}

}  // namespace weft
