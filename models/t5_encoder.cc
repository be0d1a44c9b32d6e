#include "models/t5_encoder.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/activation.h"
#include "kernels/arithmetic.h"
#include "kernels/arrange.h"
#include "kernels/cast.h"
#include "kernels/dropout.h"
#include "kernels/embedding.h"
#include "nn/config.h"
#include "nn/packing.h"
#include "tensor/autograd.h"

namespace weft {

T5Config T5Config::from_json(const nlohmann::json& json, const std::string& file) {
  T5Config c;
  const ConfigReader read(json, file);
  c.vocab_size = read.integer("vocab_size", 1, 1 << 24);
  c.d_model = read.integer("d_model", 1, 1 << 16);
  c.d_kv = read.integer("d_kv", 1, 1 << 12);
  c.num_heads = read.integer("num_heads", 1, 1 << 10);
  c.d_ff = read.integer("d_ff", 1, 1 << 18);
  c.num_layers = read.integer("num_layers", 0, 1 << 10);
  c.relative_attention_num_buckets =
      read.integer("relative_attention_num_buckets", 4, 1 << 12, c.relative_attention_num_buckets);
  c.relative_attention_max_distance =
      read.integer("relative_attention_max_distance", 2, 1 << 20, c.relative_attention_max_distance);
  check_input(c.relative_attention_max_distance > c.relative_attention_num_buckets / 4,
              "{}: relative_attention_max_distance must be more than a quarter of the {} buckets but is {}", file,
              c.relative_attention_num_buckets, c.relative_attention_max_distance);
  c.layer_norm_epsilon = read.number("layer_norm_epsilon", 0, 1, c.layer_norm_epsilon);
  c.dropout_rate = read.number("dropout_rate", 0, 0.999, c.dropout_rate);
  read.choice("feed_forward_proj", {"gated-gelu"}, "gated-gelu");  // T5 v1.1 and mT5, not T5 1.0
  return c;
}

nlohmann::json T5Config::to_json() const {
  return {{"vocab_size", vocab_size},
          {"d_model", d_model},
          {"d_kv", d_kv},
          {"num_heads", num_heads},
          {"d_ff", d_ff},
          {"num_layers", num_layers},
          {"relative_attention_num_buckets", relative_attention_num_buckets},
          {"relative_attention_max_distance", relative_attention_max_distance},
          {"layer_norm_epsilon", layer_norm_epsilon},
          {"dropout_rate", dropout_rate},
          {"feed_forward_proj", "gated-gelu"}};
}

int64_t t5_relative_bucket(int64_t distance, int64_t buckets, int64_t max_distance) {
  const int64_t half = buckets / 2, exact = half / 2;
  const int64_t offset = distance > 0 ? half : 0, d = std::abs(distance);
  if (d < exact) return offset + d;
  // In f32 and in this order, since transformers' result at the bucket borders depends on it.
  const float position = std::log(static_cast<float>(d) / static_cast<float>(exact)) /
                         static_cast<float>(std::log(static_cast<double>(max_distance) / static_cast<double>(exact))) *
                         static_cast<float>(half - exact);
  return offset + std::min(half - 1, exact + static_cast<int64_t>(position));
}

// Initial deviations are those of transformers' MT5PreTrainedModel (initializer_factor 1), with two changes for
// training from scratch on little data: embeddings start at 0.01, since those of rare words stay what they were, noise
// in every text that holds one, and what a block adds starts 100 times smaller, beside them.
T5Block::T5Block(const Params& p, const T5Config& c)
    : attention_norm(p / "layer" / 0 / "layer_norm", c.d_model, c.layer_norm_epsilon),
      feed_forward_norm(p / "layer" / 1 / "layer_norm", c.d_model, c.layer_norm_epsilon),
      q(p / "layer" / 0 / "SelfAttention" / "q", c.d_model, c.num_heads * c.d_kv, false,
        init::normal(1 / std::sqrt(c.d_model * c.d_kv))),
      k(p / "layer" / 0 / "SelfAttention" / "k", c.d_model, c.num_heads * c.d_kv, false,
        init::normal(1 / std::sqrt(c.d_model))),
      v(p / "layer" / 0 / "SelfAttention" / "v", c.d_model, c.num_heads * c.d_kv, false,
        init::normal(1 / std::sqrt(c.d_model))),
      o(p / "layer" / 0 / "SelfAttention" / "o", c.num_heads * c.d_kv, c.d_model, false,
        init::normal(0.01 / std::sqrt(c.num_heads * c.d_kv))),
      wi_0(p / "layer" / 1 / "DenseReluDense" / "wi_0", c.d_model, c.d_ff, false,
           init::normal(1 / std::sqrt(c.d_model))),
      wi_1(p / "layer" / 1 / "DenseReluDense" / "wi_1", c.d_model, c.d_ff, false,
           init::normal(1 / std::sqrt(c.d_model))),
      wo(p / "layer" / 1 / "DenseReluDense" / "wo", c.d_ff, c.d_model, false, init::normal(0.01 / std::sqrt(c.d_ff))) {}

T5Encoder::T5Encoder(const Params& p, const T5Config& c)
    : config(c),
      shared(p / "shared", c.vocab_size, c.d_model, init::normal(0.01)),
      relative_attention_bias((p / "encoder" / "block" / 0 / "layer" / 0 / "SelfAttention" / "relative_attention_bias")
                                  .parameter("weight", {c.relative_attention_num_buckets, c.num_heads},
                                             init::normal(1 / std::sqrt(c.d_model)), false)),
      final_layer_norm(p / "encoder" / "final_layer_norm", c.d_model, c.layer_norm_epsilon) {
  for (int64_t i = 0; i < c.num_layers; ++i) blocks.emplace_back(p / "encoder" / "block" / static_cast<int>(i), c);
}

// bias[h, q, k] = table[bucket(k - q), h]: [heads, T, T].
Tensor T5Encoder::position_bias(int64_t length) const {
  Tensor& buckets = *buckets_;
  if (!buckets.defined() || buckets.dim(0) != length) {
    buckets = Tensor::empty({length, length}, DType::i64);
    for (int64_t i = 0; i < length * length; ++i) {
      buckets.data<int64_t>()[i] = t5_relative_bucket(
          i % length - i / length, config.relative_attention_num_buckets, config.relative_attention_max_distance);
    }
  }
  return permute(embedding(relative_attention_bias, buckets), {2, 0, 1});  // from [T, T, heads]
}

Tensor T5Encoder::operator()(const Tensor& ids, const Tensor& mask, DType dtype, Random* random) const {
  check(ids.rank() == 2 && ids.dtype() == DType::i64, "[t5_encoder] ids must be i64 [B, T] but are {} {}", ids.dtype(),
        ids.shape());
  check(mask.shape() == ids.shape() && mask.dtype() == DType::boolean, "[t5_encoder] mask must be bool {} but is {} {}",
        ids.shape(), mask.dtype(), mask.shape());
  const bool drops = config.dropout_rate > 0 && Training::active();
  check(!drops || random, "[t5_encoder] dropout needs a random generator");
  const auto drop = [&](const Tensor& t) { return drops ? dropout(t, config.dropout_rate, *random) : t; };
  // Dropout draws by position, so that a seed means the same on either device: it keeps the padding.
  const Packing packing("t5_encoder", mask, shared.weight.device(), !drops);

  AttentionOptions options;
  options.bias = cast(position_bias(packing.length()), dtype);
  Tensor x = drop(cast(shared(packing.pack(ids)), dtype));  // [rows, d_model]
  for (const T5Block& block : blocks) {
    const Tensor n = block.attention_norm(x);
    const Tensor attended = packing.attend(block.q(n), block.k(n), block.v(n), config.num_heads, options);
    x = add(x, drop(block.o(attended)));
    const Tensor f = block.feed_forward_norm(x);
    x = add(x, drop(block.wo(gated_gelu_tanh(block.wi_0(f), block.wi_1(f)))));
  }
  return packing.unpack(drop(final_layer_norm(x)));
}

}  // namespace weft
