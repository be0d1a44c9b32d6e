#include "models/unet.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "kernels/arithmetic.h"
#include "kernels/arrange.h"
#include "kernels/cast.h"
#include "kernels/reduce.h"
#include "nn/config.h"
#include "tensor/dispatch.h"

namespace weft {

UnetConfig UnetConfig::glami_upsampler() {
  UnetConfig c;
  c.num_resnet_blocks = {2, 4, 8};
  c.layer_attns = c.layer_cross_attns = {0, 0, 1};
  c.lowres_cond = true;
  return c;
}

UnetConfig UnetConfig::from_json(const nlohmann::json& json, const std::string& file) {
  UnetConfig c;
  const ConfigReader read(json, file);
  c.dim = read.integer("dim", 4, 1 << 14);
  c.cond_dim = read.integer("cond_dim", 1, 1 << 14);
  c.text_embed_dim = read.integer("text_embed_dim", 1, 1 << 14);
  c.channels = read.integer("channels", 1, 64, c.channels);
  const size_t levels = json.contains("dim_mults") ? json["dim_mults"].size() : 0;
  check_input(levels >= 1 && levels <= 8, "{}: dim_mults must be a list of 1 to 8 whole numbers", file);
  c.dim_mults = read.integers("dim_mults", levels, 1, 64);
  c.num_resnet_blocks = read.integers("num_resnet_blocks", levels, 0, 64);
  c.layer_attns = read.integers("layer_attns", levels, 0, 1);
  c.layer_cross_attns = read.integers("layer_cross_attns", levels, 0, 1);
  c.attn_heads = read.integer("attn_heads", 1, 256, c.attn_heads);
  c.attn_dim_head = read.integer("attn_dim_head", 1, 1024, c.attn_dim_head);
  c.ff_mult = read.integer("ff_mult", 1, 64, c.ff_mult);
  c.max_text_len = read.integer("max_text_len", 1, PerceiverResampler::positions, c.max_text_len);
  c.num_time_tokens = read.integer("num_time_tokens", 1, 64, c.num_time_tokens);
  c.attn_pool_num_latents = read.integer("attn_pool_num_latents", 1, 1024, c.attn_pool_num_latents);
  c.resnet_groups = read.integer("resnet_groups", 1, 1024, c.resnet_groups);
  c.attn_pool_text = read.flag("attn_pool_text", c.attn_pool_text);
  c.layout_size = read.integer("layout_size", 0, 64, 0);
  c.layout_channels = read.integer("layout_channels", 1, 1024, c.layout_channels);
  c.layout_width = read.integer("layout_width", 1, 1 << 14, c.layout_width);
  c.layout_blocks = read.integer("layout_blocks", 0, 16, c.layout_blocks);
  c.lowres_cond = read.flag("lowres_cond", false);
  for (const int64_t m : c.dim_mults) {
    check_input(
        c.dim % c.resnet_groups == 0 && c.dim * m <= 1 << 16 && c.dim % 2 == 0,
        "{}: dim must be even and a multiple of resnet_groups, and dim times a dim_mult at most 65536, but they "
        "are {}, {} and {}",
        file, c.dim, c.resnet_groups, m);
  }
  return c;
}

nlohmann::json UnetConfig::to_json() const {
  return {{"dim", dim},
          {"cond_dim", cond_dim},
          {"text_embed_dim", text_embed_dim},
          {"channels", channels},
          {"dim_mults", dim_mults},
          {"num_resnet_blocks", num_resnet_blocks},
          {"layer_attns", layer_attns},
          {"layer_cross_attns", layer_cross_attns},
          {"attn_heads", attn_heads},
          {"attn_dim_head", attn_dim_head},
          {"ff_mult", ff_mult},
          {"max_text_len", max_text_len},
          {"num_time_tokens", num_time_tokens},
          {"attn_pool_num_latents", attn_pool_num_latents},
          {"resnet_groups", resnet_groups},
          {"attn_pool_text", attn_pool_text},
          {"layout_size", layout_size},
          {"layout_channels", layout_channels},
          {"layout_width", layout_width},
          {"layout_blocks", layout_blocks},
          {"lowres_cond", lowres_cond}};
}

namespace {

constexpr int64_t learned_features = 16;  // of the low-resolution log-SNR, beside itself

// f_i = 10000^(-i / (half - 1)), half = dim / 2.
Tensor sinusoid_frequencies(int64_t dim, const ParameterSet& set) {
  const int64_t half = dim / 2;
  std::vector<float> f;
  for (int64_t i = 0; i < half; ++i) {
    f.push_back(
        std::exp(static_cast<float>(i) * static_cast<float>(-std::log(10000.0) / static_cast<double>(half - 1))));
  }
  Tensor frequencies = Tensor::empty({1, half}, set.dtype());
  frequencies.copy_from(Tensor::from(f, {1, half}));
  return frequencies.to(set.device());
}

// Booleans on the cpu as 0 and 1 of a shape, where the computation is.
Tensor as_numbers(const Tensor& flags, const Shape& shape, DType dtype, Device device) {
  return cast(flags, dtype).to(device).reshape(shape);
}

// Where `on` is 1 a, where it is 0 b.
Tensor choose(const Tensor& on, const Tensor& a, const Tensor& b) {
  return add(mul(a, on), mul(b, sub(Tensor::full({}, 1, on.dtype(), on.device()), on)));
}

}  // namespace

Unet::Unet(const Params& p, const UnetConfig& c)
    : config(c),
      // Without the resampler the mean over all places is what tells one text from another: places without a token
      // begin as zeros, so that three words do not drown in twenty random vectors.
      null_text_embed(p.parameter("null_text_embed", {1, c.max_text_len, c.cond_dim},
                                  c.attn_pool_text ? init::normal(1) : init::zeros(), false)),
      null_text_hidden(p.parameter("null_text_hidden", {1, c.time_width()}, init::normal(1), false)),
      init_conv(p / "init_conv", c.channels * (c.lowres_cond ? 2 : 1), c.dim),
      time_hidden(p / "to_time_hiddens" / 1, c.dim, c.time_width()),
      time_cond(p / "to_time_cond" / 0, c.time_width(), c.time_width()),
      time_tokens(p / "to_time_tokens" / 0, c.time_width(), c.num_time_tokens * c.cond_dim),
      norm_cond(p / "norm_cond", c.cond_dim),
      text_to_cond(p / "text_to_cond", c.text_embed_dim, c.cond_dim),
      text_norm(p / "to_text_non_attn_cond" / 0, c.cond_dim),
      text_hidden_in(p / "to_text_non_attn_cond" / 1, c.cond_dim, c.time_width()),
      text_hidden_out(p / "to_text_non_attn_cond" / 3, c.time_width(), c.time_width()),
      final_conv(p / "final_conv", c.dim, c.channels, 3, {.padding = 1}),
      frequencies_(sinusoid_frequencies(c.dim, p.set())) {
  if (c.attn_pool_text) {
    attn_pool.emplace(p / "attn_pool", c.cond_dim, c.attn_pool_num_latents, c.attn_heads, c.attn_dim_head);
  }
  if (c.layout_size > 0) {
    const int64_t width = c.dim * c.dim_mults.back(), places = c.layout_size * c.layout_size;
    const Params scope = p / "text_layout";
    layout_in.emplace(scope / 0, c.time_width(), c.layout_width);
    layout_map.emplace(scope / 1, c.layout_width, places * c.layout_channels);
    layout_out.emplace(scope / 2, c.layout_channels, width);
    layout_sketch.emplace(scope / 3, c.layout_channels, c.channels * c.size_multiple() * c.size_multiple());
    for (int i = 0; i < c.layout_blocks; ++i) layout_blocks.emplace_back(scope / (4 + i), c.layout_width, c.layout_width);
  }
  if (c.lowres_cond) {
    lowres_frequencies =
        (p / "to_lowres_time_hiddens" / 0).parameter("weights", {learned_features / 2}, init::normal(1));
    lowres_hidden.emplace(p / "to_lowres_time_hiddens" / 1, learned_features + 1, c.time_width());
    lowres_cond.emplace(p / "to_lowres_time_cond" / 0, c.time_width(), c.time_width());
    lowres_tokens.emplace(p / "to_lowres_time_tokens" / 0, c.time_width(), c.num_time_tokens * c.cond_dim);
  }

  int cross = 0;
  const auto block = [&](const Params& scope, int64_t in, int64_t out, bool with_cross, bool with_context,
                         bool scale_skip = true) {
    const ResnetBlockOptions o{.groups = static_cast<int>(c.resnet_groups),
                               .time_width = c.time_width(),
                               .context_width = with_cross ? std::optional(c.cond_dim) : std::nullopt,
                               .global_context = with_context,
                               .scale_skip = scale_skip};
    return ResnetBlock(scope, in, out, o, cross);
  };
  // The parts that both ways have, at their places in the original's lists: ups have no pre-downsample before them.
  const auto level = [&](const Params& scope, int first, int64_t l, int64_t in, int64_t out, int64_t width) {
    Level made{.first = block(scope / first, in, out, c.layer_cross_attns[l] != 0, false),
               .blocks = {},
               .transformer = {},
               .down = {},
               .up = {}};
    for (int j = 0; j < c.num_resnet_blocks[l]; ++j) {
      made.blocks.push_back(block(scope / (first + 1) / j, width, width, false, true));
    }
    if (c.layer_attns[l]) {
      made.transformer.emplace(scope / (first + 2), width, c.attn_heads, c.attn_dim_head, c.ff_mult);
    }
    return made;
  };
  std::vector<int64_t> widths{c.dim};
  for (const int64_t m : c.dim_mults) widths.push_back(c.dim * m);
  const int64_t levels = c.levels();
  for (int64_t l = 0; l < levels; ++l) {
    const Params scope = p / "downs" / static_cast<int>(l);
    downs.push_back(level(scope, 1, l, widths[l], widths[l + 1], widths[l + 1]));
    if (l + 1 < levels) downs.back().down.emplace(downsample(scope / 4, widths[l + 1], widths[l + 1]));
  }
  const int64_t middle = widths.back();
  mid_block1.emplace(block(p / "mid_block1", middle, middle, true, false));
  mid_attn.emplace(p / "mid_attn" / "fn" / "fn", middle, c.attn_heads, c.attn_dim_head);
  mid_block2.emplace(block(p / "mid_block2", middle, middle, true, false));
  for (int64_t i = 0; i < levels; ++i) {
    const int64_t l = levels - 1 - i;
    const Params scope = p / "ups" / static_cast<int>(i);
    ups.push_back(level(scope, 0, l, 2 * widths[l + 1], widths[l], widths[l]));
    if (l > 0) ups.back().up.emplace(scope / 3, widths[l]);
  }
  final_res_block.emplace(block(p / "final_res_block", c.dim, c.dim, false, true, false));
}

std::vector<const CrossAttention*> Unet::cross_attentions() const {
  std::vector<const CrossAttention*> list;
  const auto take = [&](const ResnetBlock& block) {
    if (!block.cross_attention) return;
    const auto at = static_cast<size_t>(block.cross_attention->number);
    list.resize(std::max(list.size(), at + 1));
    list[at] = &*block.cross_attention;
  };
  for (const std::vector<Level>* way : {&downs, &ups}) {
    for (const Level& level : *way) take(level.first);
  }
  take(*mid_block1);
  take(*mid_block2);
  return list;
}

UnetText Unet::text(const Tensor& embeddings, const Tensor& mask, const Tensor& keep, bool for_sampling) const {
  check(embeddings.rank() == 3 && embeddings.dim(2) == config.text_embed_dim,
        "[unet] the text must be [B, T, {}] but has shape {}", config.text_embed_dim, embeddings.shape());
  const int64_t B = embeddings.dim(0), T = std::min(embeddings.dim(1), config.max_text_len), L = config.max_text_len;
  check(mask.dtype() == DType::boolean && mask.shape() == Shape{B, embeddings.dim(1)} && keep.shape() == Shape{B} &&
            keep.dtype() == DType::boolean,
        "[unet] mask and keep must be bool [{}, {}] and [{}] but are {} {} and {} {}", B, embeddings.dim(1), B,
        mask.dtype(), mask.shape(), keep.dtype(), keep.shape());
  const DType dtype = embeddings.dtype();
  const Device device = embeddings.device();
  // Where a text has no token, or a row no text, a learned vector of that place stands.
  Tensor present = Tensor::zeros({B, L}, DType::boolean);
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t t = 0; t < T; ++t) {
      present.data<bool>()[b * L + t] = keep.data<bool>()[b] && mask.data<bool>()[b * mask.dim(1) + t];
    }
  }
  Tensor z = text_to_cond(T < embeddings.dim(1) ? slice(embeddings, 1, 0, T) : embeddings);
  if (T < L) z = concat({z, Tensor::zeros({B, L - T, config.cond_dim}, dtype, device)}, 1);
  z = choose(as_numbers(present, {B, L, 1}, dtype, device), z, cast(null_text_embed, dtype));
  if (attn_pool) z = (*attn_pool)(z);
  Tensor hidden = text_hidden_out(text_hidden_in(text_norm(mean(z, 1)), Activation::silu));
  hidden = choose(as_numbers(keep, {B, 1}, dtype, device), hidden, cast(null_text_hidden, dtype));
  UnetText text{norm_cond(z), cast(hidden, null_text_hidden.dtype()), {}, {}};
  if (layout_in) {
    const int64_t S = config.layout_size;
    Tensor h = (*layout_in)(hidden, Activation::silu);
    for (const Linear& block : layout_blocks) h = add(h, block(h, Activation::silu));
    text.layout = (*layout_map)(h).reshape({B, S, S, config.layout_channels});
  }
  if (for_sampling) {
    for (const CrossAttention* attention : cross_attentions())
      text.keys_values.push_back(attention->to_kv(text.tokens));
  }
  return text;
}

Tensor Unet::sketch(const UnetText& text) const {
  check(text.layout.defined(), "[unet] a sketch needs a UNet with a layout");
  const int64_t B = text.layout.dim(0), S = config.layout_size, m = config.size_multiple(), C = config.channels;
  const Tensor squares = (*layout_sketch)(text.layout).reshape({B, S, S, m, m, C});
  return permute(squares, {0, 1, 3, 2, 4, 5}).reshape({B, S * m, S * m, C});
}

// The time embedding is computed in the parameters' own dtype: its sines are of large arguments.
UnetContext Unet::context(const Tensor& log_snr, const UnetText& text, const Tensor& lowres_log_snr,
                          DType dtype) const {
  const int64_t B = log_snr.dim(0);
  const auto column = [&](const Tensor& v) { return cast(v, null_text_hidden.dtype()).reshape({B, 1}); };
  const auto tokens_of = [&](const Linear& layer, const Tensor& hidden) {
    return layer(hidden).reshape({B, config.num_time_tokens, config.cond_dim});
  };
  const Tensor angle = mul(column(log_snr), frequencies_);
  const Tensor hidden = time_hidden(concat({sin(angle), cos(angle)}, 1), Activation::silu);
  Tensor time = add(time_cond(hidden), text.hidden), tokens = tokens_of(time_tokens, hidden);
  if (config.lowres_cond) {
    const Tensor v = column(lowres_log_snr);
    const Tensor turns = mul(mul(v, lowres_frequencies.reshape({1, learned_features / 2})), 2 * std::numbers::pi);
    const Tensor lowres = (*lowres_hidden)(concat({v, sin(turns), cos(turns)}, 1), Activation::silu);
    time = add(time, (*lowres_cond)(lowres));
    tokens = concat({tokens, tokens_of(*lowres_tokens, lowres)}, 1);
  }
  return {cast(time, dtype), norm_cond(cast(tokens, dtype)), text.tokens,
          text.keys_values.empty() ? nullptr : &text.keys_values};
}

Tensor Unet::operator()(const Tensor& x, const Tensor& log_snr, const UnetText& text, const Tensor& lowres,
                        const Tensor& lowres_log_snr, const UnetProbe& probe) const {
  const int64_t multiple = config.size_multiple();
  check(x.rank() == 4 && x.dim(3) == config.channels && x.dim(1) % multiple == 0 && x.dim(2) % multiple == 0,
        "[unet] x must be [B, H, W, {}] with H and W multiples of {} but has shape {}", config.channels, multiple,
        x.shape());
  check(config.layout_size == 0 || (x.dim(1) == config.layout_size * multiple && x.dim(2) == x.dim(1)),
        "[unet] with a layout of {} places a side x must be {} pixels high and wide but has shape {}",
        config.layout_size, config.layout_size * multiple, x.shape());
  check(lowres.defined() == config.lowres_cond && (!lowres.defined() || lowres.shape() == x.shape()),
        "[unet] the low-resolution image must be given as {} where lowres_cond is set and only there", x.shape());
  check(log_snr.shape() == Shape{x.dim(0)}, "[unet] log_snr must be [{}] but has shape {}", x.dim(0), log_snr.shape());
  const auto seen = [&](const std::string& layer, const Tensor& y) -> const Tensor& {
    if (probe) probe(layer, y);
    return y;
  };
  const UnetContext c = context(log_snr, text, lowres_log_snr, x.dtype());
  seen("text", text.tokens);
  seen("time", c.time);
  Tensor h = seen("init_conv", init_conv(lowres ? concat({x, lowres}, 3) : x));
  const auto through = [&](const char* way, size_t at, int first, const Level& level, Tensor y) {
    const auto name = [&](int part) { return fmt::format("{}.{}.{}", way, at, first + part); };
    y = seen(name(0), level.first(y, c));
    for (size_t j = 0; j < level.blocks.size(); ++j) y = seen(fmt::format("{}.{}", name(1), j), level.blocks[j](y, c));
    return level.transformer ? seen(name(2), (*level.transformer)(y)) : y;
  };
  Tensors skips;
  for (size_t i = 0; i < downs.size(); ++i) {
    h = through("downs", i, 1, downs[i], h);
    skips.push_back(h);
    if (downs[i].down) h = (*downs[i].down)(h);
  }
  if (text.layout) h = add(h, seen("text_layout", (*layout_out)(text.layout)));
  h = seen("mid_block1", (*mid_block1)(h, c));
  h = seen("mid_attn", add((*mid_attn)(h), h));
  h = seen("mid_block2", (*mid_block2)(h, c));
  for (size_t i = 0; i < ups.size(); ++i) {
    h = through("ups", i, 0, ups[i], concat({h, skips.back()}, 3));
    skips.pop_back();
    if (ups[i].up) h = (*ups[i].up)(h);
  }
  h = seen("final_res_block", (*final_res_block)(h, c));
  return cast(seen("final_conv", final_conv(h)), parameter_dtype(x.dtype()));
}

}  // namespace weft
