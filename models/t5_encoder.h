// The encoder of T5 v1.1 / mT5 (Raffel et al. 2020, section 2.1; Xue et al. 2021), as in transformers' MT5EncoderModel,
// with its parameter names: `shared.weight`, `encoder.block.{i}.layer.{0,1}...`, `encoder.final_layer_norm.weight`.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "nn/layers.h"
#include "tensor/philox.h"

namespace weft {

/// Names as in Hugging Face's config.json. The defaults are mT5-small.
struct T5Config {
  int64_t vocab_size = 250112;
  int64_t d_model = 512, d_kv = 64, num_heads = 6, d_ff = 1024, num_layers = 8;
  int64_t relative_attention_num_buckets = 32, relative_attention_max_distance = 128;
  double layer_norm_epsilon = 1e-6;
  double dropout_rate = 0;  // of embeddings and block outputs, in training

  /// Reads and checks what a config.json says; `file` is named in errors.
  static T5Config from_json(const nlohmann::json& json, const std::string& file);
  nlohmann::json to_json() const;
};

/// Which of the learned biases the key at distance `key - query` uses (transformers' bidirectional
/// _relative_position_bucket).
int64_t t5_relative_bucket(int64_t distance, int64_t buckets, int64_t max_distance);

struct T5Block {
  RmsNorm attention_norm, feed_forward_norm;
  Linear q, k, v, o, wi_0, wi_1, wo;
  T5Block(const Params& p, const T5Config& config);
};

struct T5Encoder {
  T5Config config;
  Embedding shared;
  Tensor relative_attention_bias;  // [buckets, heads], used by every block
  std::vector<T5Block> blocks;
  RmsNorm final_layer_norm;

  T5Encoder(const Params& p, const T5Config& config);

  /// ids i64 [B, T], mask bool [B, T], each row true up to its text's length -> last hidden state [B, T, d_model] in
  /// `dtype`. Positions without a token hold values of no meaning, finite; on the cpu they cost nothing where no dropout
  /// is active. `random` feeds dropout and may be null where dropout_rate is 0.
  Tensor operator()(const Tensor& ids, const Tensor& mask, DType dtype, Random* random = nullptr) const;

 private:
  Tensor position_bias(int64_t length) const;
  // Rows of relative_attention_bias for every query and key of the last length. Kept, so that a graph can read them.
  std::shared_ptr<Tensor> buckets_ = std::make_shared<Tensor>();
};

}  // namespace weft
