// What the cascade's UNets are made of (imagen-pytorch 0.10.0, github.com/lucidrains/imagen-pytorch,
// imagen_pytorch.py), with its parameter names. Images are [B, H, W, C], tokens [B, n, width]; the time embedding t is
// [B, T].
#pragma once

#include <optional>

#include "nn/layers.h"

namespace weft {

/// The original's LayerNorm: `gamma`, and a stored `beta` that is always zero. eps 1e-5.
struct GammaNorm {
  Tensor gamma, beta;
  GammaNorm(const Params& p, int64_t channels);
  Tensor operator()(const Tensor& x) const;
};

/// Over the channels of every pixel, times `g` [1, C, 1, 1]; eps 1e-5.
struct ChannelNorm {
  Tensor g, zero;
  ChannelNorm(const Params& p, int64_t channels);
  Tensor operator()(const Tensor& x) const;
};

/// Everything but the image that a step of a UNet sees.
struct UnetContext {
  Tensor time;                                // [B, T], what the blocks' scales and shifts are made from
  Tensor time_tokens;                         // [B, 2 or 4, cond_dim], after norm_cond
  Tensor text_tokens;                         // [B, n, cond_dim], after norm_cond
  const Tensors* text_keys_values = nullptr;  // of every cross-attention by its number, where they were made before
};

/// From the pixels to tokens of another kind: 8 heads of 64 whatever the UNet's own heads are, one learned null key and
/// value for all heads.
struct CrossAttention {
  static constexpr int64_t heads = 8, head_width = 64;
  Tensor null_kv;  // [2, 64]
  GammaNorm norm;
  Linear to_q, to_kv, out;
  GammaNorm out_norm;
  int number;  // among the UNet's cross-attentions

  CrossAttention(const Params& p, int64_t width, int64_t context_width, int number);
  /// x [B, H, W, C] -> what is added to it.
  Tensor operator()(const Tensor& x, const UnetContext& context) const;
};

/// Multi-query attention among the pixels: keys and values are shared by all heads (Shazeer 2019,
/// https://arxiv.org/abs/1911.02150), with one learned null key and value.
struct SelfAttention {
  Tensor null_kv;  // [2, head_width]
  GammaNorm norm;
  Linear to_q, to_kv, out;
  GammaNorm out_norm;
  int64_t heads, head_width;

  SelfAttention(const Params& p, int64_t width, int64_t heads, int64_t head_width);
  /// x [B, H, W, C] -> what is added to it.
  Tensor operator()(const Tensor& x) const;
};

/// Self-attention and a feed-forward layer over the channels, each added to its input.
struct TransformerBlock {
  SelfAttention attention;
  ChannelNorm norm, hidden_norm;
  Conv2d up, down;  // 1x1
  TransformerBlock(const Params& p, int64_t width, int64_t heads, int64_t head_width, int64_t multiple);
  Tensor operator()(const Tensor& x) const;
};

/// Cao et al. 2019, "GCNet": one attention map over the pixels pools the image into a gate of every channel.
struct GlobalContext {
  Conv2d to_k, squeeze, expand;  // 1x1
  GlobalContext(const Params& p, int64_t channels);
  /// [B, H, W, C] -> gates [B, 1, 1, C].
  Tensor operator()(const Tensor& x) const;
};

/// Group norm, an optional scale and shift, SiLU, 3x3 convolution.
struct ConvBlock {
  GroupNorm norm;
  Conv2d project;
  ConvBlock(const Params& p, int64_t in, int64_t out, int groups);
  Tensor operator()(const Tensor& x, const Tensor& scale = {}, const Tensor& shift = {}) const;
};

struct ResnetBlockOptions {
  int groups = 8;
  int64_t time_width = 0;
  std::optional<int64_t> context_width;  // with cross-attention to tokens of that width
  bool global_context = false;
  bool scale_skip = true;  // the identity is scaled by 2^-1/2 (a convolution in its place never is)
};

struct ResnetBlock {
  Linear time_mlp;
  ConvBlock block1, block2;
  std::optional<CrossAttention> cross_attention;
  std::optional<GlobalContext> global_context;
  std::optional<Conv2d> skip;  // 1x1
  double skip_scale;

  /// `cross_attentions` counts those of the UNet.
  ResnetBlock(const Params& p, int64_t in, int64_t out, const ResnetBlockOptions& options, int& cross_attentions);
  Tensor operator()(const Tensor& x, const UnetContext& context) const;
};

/// Three convolutions of the image side by side, 3x3, 7x7 and 15x15, with a half, a quarter and the rest of the
/// channels.
struct CrossEmbed {
  std::vector<Conv2d> convs;
  CrossEmbed(const Params& p, int64_t in, int64_t out);
  Tensor operator()(const Tensor& x) const;
};

/// 4x4, stride 2: half the height and width.
Conv2d downsample(const Params& p, int64_t channels, int64_t out);

/// The transpose of a 4x4 convolution of stride 2: twice the height and width. weight [C, C, 4, 4].
struct Upsample {
  Tensor weight, bias;
  Upsample(const Params& p, int64_t channels);
  Tensor operator()(const Tensor& x) const;

 private:
  ComputeWeight weight_as_, bias_as_;
};

}  // namespace weft
