#include "models/clip.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/arithmetic.h"
#include "kernels/arrange.h"
#include "kernels/cast.h"
#include "kernels/embedding.h"
#include "kernels/matmul.h"
#include "kernels/quick_gelu.h"
#include "kernels/reduce.h"
#include "nn/config.h"
#include "tensor/autograd.h"

namespace weft {

namespace {

ClipTransformerConfig tower_config(const ConfigReader& read, const std::string& file) {
  ClipTransformerConfig c{read.integer("width", 1, 1 << 14), read.integer("layers", 0, 1 << 10), 0};
  const int64_t head_width = read.integer("head_width", 1, 1 << 14, 64);
  c.heads = read.integer("heads", 1, 1 << 10, std::max<int64_t>(1, c.width / head_width));
  check_input(c.width % c.heads == 0, "{}: width must be a multiple of the heads but they are {} and {}", file, c.width,
              c.heads);
  return c;
}

nlohmann::json tower_json(const ClipTransformerConfig& c, double mlp_ratio) {
  return {{"width", c.width}, {"layers", c.layers}, {"heads", c.heads}, {"mlp_ratio", mlp_ratio}};
}

}  // namespace

ClipConfig ClipConfig::from_json(const nlohmann::json& json, const std::string& file) {
  ClipConfig c;
  const ConfigReader read(json, file), vision(read.object("vision_cfg"), file + ": vision_cfg"),
      text(read.object("text_cfg"), file + ": text_cfg");
  c.embed_dim = read.integer("embed_dim", 1, 1 << 14);
  c.quick_gelu = read.flag("quick_gelu", false);  // open_clip's files name it only where it is on
  c.image_size = vision.integer("image_size", 1, 1 << 12);
  c.patch_size = vision.integer("patch_size", 1, 1 << 12);
  check_input(c.image_size % c.patch_size == 0, "{}: image_size must be a multiple of patch_size but they are {} and {}",
              file, c.image_size, c.patch_size);
  c.vision = tower_config(vision, file);
  c.context_length = text.integer("context_length", 1, 1 << 12);
  c.vocab_size = text.integer("vocab_size", 1, 1 << 24);
  c.text = tower_config(text, file);
  c.mlp_ratio = vision.number("mlp_ratio", 0.001, 64, 4);
  check_input(text.number("mlp_ratio", 0.001, 64, 4) == c.mlp_ratio, "{}: both towers must have the same mlp_ratio", file);
  return c;
}

nlohmann::json ClipConfig::to_json() const {
  nlohmann::json v = tower_json(vision, mlp_ratio), t = tower_json(text, mlp_ratio);
  v["image_size"] = image_size;
  v["patch_size"] = patch_size;
  t["context_length"] = context_length;
  t["vocab_size"] = vocab_size;
  return {{"model_type", "clip"}, {"embed_dim", embed_dim}, {"quick_gelu", quick_gelu}, {"vision_cfg", v}, {"text_cfg", t}};
}

namespace {

// First values are those of OpenAI's CLIP.initialize_parameters.
double inverse_root(int64_t n) { return 1 / std::sqrt(static_cast<double>(n)); }
Init projection_init(const ClipTransformerConfig& c) {
  return init::normal(inverse_root(c.width) * inverse_root(2 * std::max<int64_t>(c.layers, 1)));
}
// Rounded down as open_clip does; 976 / 448 as a ratio must give 976 again, though the product is a little less.
int64_t hidden_width(const ClipTransformerConfig& tower, const ClipConfig& config) {
  return static_cast<int64_t>(static_cast<double>(tower.width) * config.mlp_ratio + 1e-6);
}

std::vector<ClipBlock> resblocks(const Params& p, const ClipTransformerConfig& tower, const ClipConfig& config) {
  std::vector<ClipBlock> blocks;
  for (int64_t i = 0; i < tower.layers; ++i) {
    blocks.emplace_back(p / "transformer" / "resblocks" / static_cast<int>(i), tower, config);
  }
  return blocks;
}

}  // namespace

ClipAttention::ClipAttention(const Params& p, const ClipTransformerConfig& c)
    : in_proj_weight(p.parameter("in_proj_weight", {3 * c.width, c.width}, init::normal(inverse_root(c.width)))),
      in_proj_bias(p.parameter("in_proj_bias", {3 * c.width}, init::zeros())),
      out_proj(p / "out_proj", c.width, c.width, true, projection_init(c), init::zeros()),
      heads(c.heads) {}

Tensor ClipAttention::operator()(const Tensor& x, const Packing& packing, bool causal) const {
  const Tensor weight = weight_as_.for_linear(in_proj_weight, x), bias = bias_as_(in_proj_bias, x.dtype());
  const int64_t width = x.dim(1);
  const auto part = [&](int64_t i) {
    return linear(x, weight.leading(i * width, (i + 1) * width), bias.leading(i * width, (i + 1) * width));
  };
  AttentionOptions options;
  options.scale = inverse_root(width / heads);
  options.causal = causal;
  return out_proj(packing.attend(part(0), part(1), part(2), heads, options));
}

ClipBlock::ClipBlock(const Params& p, const ClipTransformerConfig& tower, const ClipConfig& config)
    : ln_1(p / "ln_1", tower.width),
      ln_2(p / "ln_2", tower.width),
      attn(p / "attn", tower),
      c_fc(p / "mlp" / "c_fc", tower.width, hidden_width(tower, config), true, init::normal(inverse_root(2 * tower.width))),
      c_proj(p / "mlp" / "c_proj", hidden_width(tower, config), tower.width, true, projection_init(tower)),
      quick(config.quick_gelu) {}

Tensor ClipBlock::operator()(const Tensor& x, const Packing& packing, bool causal) const {
  const Tensor y = add(x, attn(ln_1(x), packing, causal)), n = ln_2(y);
  return add(y, c_proj(quick ? quick_gelu(c_fc(n)) : c_fc(n, Activation::gelu)));
}

ClipVision::ClipVision(const Params& p, const ClipConfig& c)
    : config(c),
      conv1(p / "conv1", 3, c.vision.width, static_cast<int>(c.patch_size), {.stride = static_cast<int>(c.patch_size)}, false),
      class_embedding(p.parameter("class_embedding", {c.vision.width}, init::normal(inverse_root(c.vision.width)))),
      positional_embedding(p.parameter("positional_embedding", {1 + c.grid() * c.grid(), c.vision.width},
                                       init::normal(inverse_root(c.vision.width)), false)),
      ln_pre(p / "ln_pre", c.vision.width),
      ln_post(p / "ln_post", c.vision.width),
      blocks(resblocks(p, c.vision, c)),
      proj(p.parameter("proj", {c.vision.width, c.embed_dim}, init::normal(inverse_root(c.vision.width)))) {}

Tensor ClipVision::operator()(const Tensor& images) const {
  const int64_t side = config.image_size, width = config.vision.width;
  check(images.rank() == 4 && images.dim(1) == side && images.dim(2) == side && images.dim(3) == 3,
        "[clip] images must be [N, {}, {}, 3] but have shape {}", side, side, images.shape());
  const int64_t N = images.dim(0);
  const DType dtype = images.dtype();
  const Tensor patches = conv1(images).reshape({N, config.grid() * config.grid(), width});
  const Tensor token = add(Tensor::zeros({N, 1, width}, dtype, images.device()), cast(class_embedding, dtype));
  const Packing packing(N, 1 + patches.dim(1));
  Tensor x = ln_pre(packing.pack(add(concat({token, patches}, 1), cast(positional_embedding, dtype))));  // [rows, width]
  for (const ClipBlock& block : blocks) x = block(x, packing, false);
  return matmul(ln_post(slice(packing.unpack(x), 1, 0, 1).reshape({N, width})), cast(proj, dtype));
}

ClipText::ClipText(const Params& p, const ClipConfig& c)
    : config(c),
      token_embedding(p / "token_embedding", c.vocab_size, c.text.width, init::normal(0.02)),
      positional_embedding(p.parameter("positional_embedding", {c.context_length, c.text.width}, init::normal(0.01), false)),
      blocks(resblocks(p, c.text, c)),
      ln_final(p / "ln_final", c.text.width),
      text_projection(p.parameter("text_projection", {c.text.width, c.embed_dim}, init::normal(inverse_root(c.text.width)))) {}

Tensor ClipText::operator()(const Tensor& ids, DType dtype) const {
  check(ids.rank() == 2 && ids.dtype() == DType::i64 && ids.dim(1) > 0 && ids.dim(1) <= config.context_length,
        "[clip] ids must be i64 [B, T] with T in [1, {}] but are {} {}", config.context_length, ids.dtype(), ids.shape());
  const int64_t B = ids.dim(0), T = ids.dim(1);
  const Tensor host = ids.to(Device::cpu), ends = Tensor::empty({B}, DType::i64), positions = Tensor::empty({B, T}, DType::i64);
  const Tensor mask = Tensor::zeros({B, T}, DType::boolean);
  for (int64_t b = 0; b < B; ++b) {
    const int64_t *row = host.data<int64_t>() + b * T, end = std::max_element(row, row + T) - row;
    ends.data<int64_t>()[b] = b * T + end;
    std::fill_n(mask.data<bool>() + b * T, end + 1, true);
    std::iota(positions.data<int64_t>() + b * T, positions.data<int64_t>() + (b + 1) * T, 0);
  }
  // Nothing before the end of text sees what comes after it.
  const Packing packing("clip", mask, token_embedding.weight.device());
  Tensor x = cast(add(token_embedding(packing.pack(ids)), embedding(positional_embedding, packing.pack(positions))), dtype);
  for (const ClipBlock& block : blocks) x = block(x, packing, true);
  const Tensor last = index_select(packing.unpack(x).reshape({B * T, config.text.width}), ends);
  return matmul(ln_final(last), cast(text_projection, dtype));
}

Clip::Clip(const Params& p, const ClipConfig& config)
    : visual(p / "visual", config),
      text(p, config),
      logit_scale(p.parameter("logit_scale", {}, init::constant(std::log(1 / 0.07)))) {}

Tensor normalize(const Tensor& x) {
  const Tensor squares = sum(mul(x, x), -1, true);
  return mul(x, exp(mul(log(squares), -0.5)));
}

Tensor clip_logits(const Tensor& image, const Tensor& text, const Tensor& logit_scale) {
  const Tensor cosines = matmul(normalize(image), normalize(text), {}, {.transpose_b = true});
  return mul(cosines, cast(exp(logit_scale), image.dtype()));
}

}  // namespace weft
