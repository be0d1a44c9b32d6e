// The perceiver resampler of the cascade's UNets (Alayrac et al. 2022, "Flamingo", section 3.1.1): a text of any length
// becomes a fixed number of tokens. Parameter names are imagen-pytorch's.
#pragma once

#include "models/unet_blocks.h"

namespace weft {

/// The latents attend to the text and to themselves.
struct PerceiverAttention {
  LayerNorm norm, norm_latents;
  Linear to_q, to_kv, out;
  LayerNorm out_norm;
  int64_t heads;
  PerceiverAttention(const Params& p, int64_t width, int64_t heads, int64_t head_width);
  /// x [B, T, width], latents [B, n, width] -> [B, n, width].
  Tensor operator()(const Tensor& x, const Tensor& latents) const;
};

/// Norm, Linear to four times the width, GELU, norm, Linear back.
struct PerceiverFeedForward {
  GammaNorm norm, hidden_norm;
  Linear up, down;
  PerceiverFeedForward(const Params& p, int64_t width);
  Tensor operator()(const Tensor& x) const;
};

struct PerceiverResampler {
  static constexpr int64_t positions = 512;   // rows of the table of position embeddings
  static constexpr int64_t mean_latents = 4;  // made from the mean of the text, beside the learned ones
  static constexpr int depth = 2;

  Embedding position;
  Tensor latents;  // [learned, width]
  GammaNorm mean_norm;
  Linear from_mean;
  std::vector<PerceiverAttention> attention;
  std::vector<PerceiverFeedForward> feed_forward;

  PerceiverResampler(const Params& p, int64_t width, int64_t learned, int64_t heads, int64_t head_width);
  /// x [B, T, width], T <= positions, all of it attended to -> [B, 4 + learned, width].
  Tensor operator()(const Tensor& x) const;
};

}  // namespace weft
