// XLM-RoBERTa (Conneau et al. 2020, "Unsupervised cross-lingual representation learning at scale"), a BERT with norms
// after each sum, as in transformers' XLMRobertaModel and with its parameter names; and on it multilingual CLIP's text
// tower (Carlsson et al. 2022, "Cross-lingual and multilingual CLIP"), whose names are `transformer.*` and
// `LinearTransformation.*`.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

#include "nn/layers.h"

namespace weft {

/// Names as in Hugging Face's config.json. The defaults are xlm-roberta-large; base is 768, 12, 12, 3072.
struct XlmRobertaConfig {
  int64_t vocab_size = 250002;
  int64_t hidden_size = 1024, num_hidden_layers = 24, num_attention_heads = 16, intermediate_size = 4096;
  int64_t max_position_embeddings = 514;  // two more than the longest text: positions begin at pad_token_id + 1
  int64_t type_vocab_size = 1;            // token types; only the first is used
  int64_t pad_token_id = 1;
  double layer_norm_eps = 1e-5;

  int64_t max_tokens() const { return max_position_embeddings - pad_token_id - 1; }
  /// Reads and checks what a config.json says; `file` is named in errors.
  static XlmRobertaConfig from_json(const nlohmann::json& json, const std::string& file);
  nlohmann::json to_json() const;
};

struct XlmRobertaLayer {
  Linear query, key, value, attention_output, intermediate, output;
  LayerNorm attention_norm, output_norm;
  XlmRobertaLayer(const Params& p, const XlmRobertaConfig& config);
};

struct XlmRoberta {
  XlmRobertaConfig config;
  Embedding word_embeddings, position_embeddings, token_type_embeddings;
  LayerNorm embeddings_norm;
  std::vector<XlmRobertaLayer> layers;

  XlmRoberta(const Params& p, const XlmRobertaConfig& config);
  /// ids i64 [B, T], mask bool [B, T], each row true up to its text's length, T at most max_tokens() -> last hidden state
  /// [B, T, hidden_size] in `dtype`. Positions without a token hold values of no meaning, finite; on the cpu they cost
  /// nothing.
  Tensor operator()(const Tensor& ids, const Tensor& mask, DType dtype) const;
};

/// config.json of multilingual CLIP's text tower: XlmRobertaConfig's keys and "numDims".
struct MultilingualClipConfig {
  XlmRobertaConfig transformer;
  int64_t num_dims = 512;  // of the embedding: those of the CLIP model that it was trained to match

  static MultilingualClipConfig from_json(const nlohmann::json& json, const std::string& file);
  nlohmann::json to_json() const;
};

struct MultilingualClipText {
  MultilingualClipConfig config;
  XlmRoberta transformer;
  Linear linear_transformation;

  MultilingualClipText(const Params& p, const MultilingualClipConfig& config);
  /// ids i64 [B, T], mask bool [B, T] -> embeddings [B, num_dims] in `dtype`, not normalised: a linear function of the
  /// mean of the last hidden state over the tokens. A text without tokens counts as the mean 0.
  Tensor operator()(const Tensor& ids, const Tensor& mask, DType dtype) const;
};

}  // namespace weft
