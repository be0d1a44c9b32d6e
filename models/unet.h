// The UNet of the GLAMI-1M cascade (imagen-pytorch 0.10.0; Saharia et al. 2022, https://arxiv.org/abs/2205.11487):
// predicts the noise in an image from the image, its log-SNR and a text. Parameter names are the original's. Images are
// [B, H, W, C].
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "models/unet_resampler.h"

namespace weft {

/// Names as in the original. The defaults are the base UNet of GLAMI-1M.
struct UnetConfig {
  int64_t dim = 128, cond_dim = 512, text_embed_dim = 512, channels = 3;
  std::vector<int64_t> dim_mults{1, 2, 4};
  std::vector<int64_t> num_resnet_blocks{3, 3, 3};  // of every level, beside the one that changes the width
  std::vector<int64_t> layer_attns{0, 1, 1}, layer_cross_attns{1, 1, 1};  // of every level, 0 or 1
  int64_t attn_heads = 8, attn_dim_head = 64, ff_mult = 2;
  int64_t max_text_len = 256, num_time_tokens = 2, attn_pool_num_latents = 32;
  int64_t resnet_groups = 8;
  bool attn_pool_text = true;  // the text goes through a perceiver resampler first
  // Weft's own: of each text a map of this many places a side, with so many numbers each, is drawn at the lowest level,
  // as a generator begins (Radford et al. 2016, https://arxiv.org/abs/1511.06434). 0: none. Ties the UNet to one size.
  int64_t layout_size = 0, layout_channels = 16;
  int64_t layout_width = 256, layout_blocks = 0;  // of the layers between the text and the map: h + silu(linear(h)) each
  bool lowres_cond = false;  // also sees a picture, the result of the UNet before it

  /// The UNet from 64 to 128 pixels of GLAMI-1M.
  static UnetConfig glami_upsampler();
  /// Width of the time embedding.
  int64_t time_width() const { return dim * 4 * (lowres_cond ? 2 : 1); }
  int64_t levels() const { return static_cast<int64_t>(dim_mults.size()); }
  /// Image sizes must be multiples of this.
  int64_t size_multiple() const { return int64_t{1} << (levels() - 1); }

  /// Reads and checks; `file` is named in errors.
  static UnetConfig from_json(const nlohmann::json& json, const std::string& file);
  nlohmann::json to_json() const;
};

/// What a UNet makes of a batch of texts: the same for all steps of sampling.
struct UnetText {
  Tensor tokens;        // [B, 4 + latents or max_text_len, cond_dim], after norm_cond
  Tensor hidden;        // [B, time width], added to the time embedding
  Tensor layout;        // [B, layout_size, layout_size, layout_channels], or undefined
  Tensors keys_values;  // of every cross-attention, [B, tokens, 2 inner]; empty in training
};

/// Sees the results of the layers as they are made.
using UnetProbe = std::function<void(const std::string& layer, const Tensor& y)>;

struct Unet {
  struct Level {
    ResnetBlock first;
    std::vector<ResnetBlock> blocks;
    std::optional<TransformerBlock> transformer;
    std::optional<Conv2d> down;
    std::optional<Upsample> up;
  };

  UnetConfig config;
  Tensor null_text_embed, null_text_hidden;
  CrossEmbed init_conv;
  Linear time_hidden, time_cond, time_tokens;
  Tensor lowres_frequencies;  // [8]; undefined without lowres_cond, as the three below
  std::optional<Linear> lowres_hidden, lowres_cond, lowres_tokens;
  LayerNorm norm_cond;
  Linear text_to_cond;
  std::optional<PerceiverResampler> attn_pool;
  std::optional<Linear> layout_in, layout_map, layout_out, layout_sketch;  // undefined without layout_size
  std::vector<Linear> layout_blocks;
  LayerNorm text_norm;
  Linear text_hidden_in, text_hidden_out;
  std::vector<Level> downs, ups;
  std::optional<ResnetBlock> mid_block1, mid_block2;
  std::optional<SelfAttention> mid_attn;
  std::optional<ResnetBlock> final_res_block;
  Conv2d final_conv;

  Unet(const Params& p, const UnetConfig& config);
  Device device() const { return final_conv.weight.device(); }

  /// embeddings [B, T, text_embed_dim], mask [B, T] bool (true = a token) and keep [B] bool (false: as if there were no
  /// text), mask and keep on the cpu. Positions after max_text_len are cut. `for_sampling`: with the keys and values of
  /// the cross-attentions.
  UnetText text(const Tensor& embeddings, const Tensor& mask, const Tensor& keep, bool for_sampling = false) const;

  /// What the layout alone shows: [B, H, W, C] at the UNet's size, in [-1, 1] where it is trained to
  /// (Cascade::sketch_loss).
  Tensor sketch(const UnetText& text) const;

  /// x [B, H, W, C], log_snr [B] f32; with lowres_cond also `lowres` [B, H, W, C] and its log_snr [B] -> the noise
  /// [B, H, W, C], f32. Computes in x's dtype. `probe` is called with every layer's name and result.
  Tensor operator()(const Tensor& x, const Tensor& log_snr, const UnetText& text, const Tensor& lowres = {},
                    const Tensor& lowres_log_snr = {}, const UnetProbe& probe = {}) const;

 private:
  UnetContext context(const Tensor& log_snr, const UnetText& text, const Tensor& lowres_log_snr, DType dtype) const;
  std::vector<const CrossAttention*> cross_attentions() const;
  Tensor frequencies_;  // of the sinusoidal embedding of the log-SNR, [1, dim / 2]
};

}  // namespace weft
