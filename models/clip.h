// CLIP (Radford et al. 2021, "Learning transferable visual models from natural language supervision", section 2.4) with
// a vision transformer (Dosovitskiy et al. 2021) as the image tower, with the parameter names of OpenAI's and
// open_clip's files: `visual.transformer.resblocks.{i}.attn.in_proj_weight`, `text_projection`, ...
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

#include "nn/layers.h"
#include "nn/packing.h"

namespace weft {

/// One tower's transformer.
struct ClipTransformerConfig {
  int64_t width, layers, heads;
};

/// config.json in open_clip's words ("embed_dim", "quick_gelu", "vision_cfg", "text_cfg"); the defaults are OpenAI's
/// ViT-B/32. B/16 differs in patch_size 16; L/14 in embed_dim 768, patch_size 14, vision {1024, 24, 16}, text {768, 12,
/// 12}.
struct ClipConfig {
  int64_t embed_dim = 512;
  bool quick_gelu = true;  // OpenAI's weights; false: the exact GELU, as in most that open_clip trained
  int64_t image_size = 224, patch_size = 32;
  ClipTransformerConfig vision{768, 12, 12};
  int64_t context_length = 77, vocab_size = 49408;
  ClipTransformerConfig text{512, 12, 8};
  double mlp_ratio = 4;

  int64_t grid() const { return image_size / patch_size; }  // patches along a side
  /// Reads and checks what a config.json says; `file` is named in errors. In a tower "heads" may be replaced by
  /// "head_width" (64 where the image tower has neither).
  static ClipConfig from_json(const nlohmann::json& json, const std::string& file);
  nlohmann::json to_json() const;
};

/// torch.nn.MultiheadAttention's parameters: one matrix for queries, keys and values.
struct ClipAttention {
  Tensor in_proj_weight, in_proj_bias;  // [3 width, width], [3 width]
  Linear out_proj;
  int64_t heads;
  ClipAttention(const Params& p, const ClipTransformerConfig& config);
  /// x [rows, width]: every text attends to itself.
  Tensor operator()(const Tensor& x, const Packing& packing, bool causal) const;

 private:
  ComputeWeight weight_as_, bias_as_;
};

struct ClipBlock {
  LayerNorm ln_1, ln_2;
  ClipAttention attn;
  Linear c_fc, c_proj;
  bool quick;
  ClipBlock(const Params& p, const ClipTransformerConfig& tower, const ClipConfig& config);
  Tensor operator()(const Tensor& x, const Packing& packing, bool causal) const;
};

/// The tower that reads images.
struct ClipVision {
  ClipConfig config;
  Conv2d conv1;                                    // one product a patch
  Tensor class_embedding, positional_embedding;    // [width], [1 + grid^2, width]
  LayerNorm ln_pre, ln_post;
  std::vector<ClipBlock> blocks;
  Tensor proj;  // [width, embed_dim]
  ClipVision(const Params& p, const ClipConfig& config);
  /// Images [N, image_size, image_size, 3], preprocessed (data/), -> embeddings [N, embed_dim], not normalised.
  Tensor operator()(const Tensor& images) const;
};

/// The tower that reads texts. Its names have no scope of their own in the files.
struct ClipText {
  ClipConfig config;
  Embedding token_embedding;
  Tensor positional_embedding;  // [context_length, width]
  std::vector<ClipBlock> blocks;
  LayerNorm ln_final;
  Tensor text_projection;  // [width, embed_dim]
  ClipText(const Params& p, const ClipConfig& config);
  /// ids i64 [B, T], T at most context_length, -> embeddings [B, embed_dim] in `dtype`, not normalised, taken at each
  /// row's first largest id: the end of text. What comes after it has no influence, and costs nothing on the cpu.
  Tensor operator()(const Tensor& ids, DType dtype) const;
};

struct Clip {
  ClipVision visual;
  ClipText text;
  Tensor logit_scale;  // []: the logarithm of the factor of the cosines
  Clip(const Params& p, const ClipConfig& config);
};

/// x [.., D] divided by its length along the last axis.
Tensor normalize(const Tensor& x);
/// exp(logit_scale) times the cosines of image embeddings [N, D] and text embeddings [M, D] -> [N, M].
Tensor clip_logits(const Tensor& image, const Tensor& text, const Tensor& logit_scale);

}  // namespace weft
