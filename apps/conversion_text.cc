// Text models from Hugging Face's files: the encoder of mT5 and T5 v1.1, XLM-RoBERTa, multilingual CLIP's text tower.
#include "apps/conversion.h"
#include "models/t5_encoder.h"
#include "models/xlm_roberta.h"
#include "nn/config.h"
#include "tensor/atomic_file.h"

namespace weft {

namespace {

template <class Model, class Config>
std::function<void(const Safetensors&)> builds(const Config& config) {
  return [config](const Safetensors& weights) {
    ParameterSet set;
    const Model model(Params(set).trainable(false).from(weights), config);
    set.check_all_used();
  };
}

}  // namespace

bool convert_t5(ConversionBuilder& b) {
  const std::string first = "encoder.block.0.layer.0.SelfAttention.", file = b.file().path().string();
  if (!b.has(first + "q.weight")) return false;
  check_input(b.has("encoder.block.0.layer.1.DenseReluDense.wi_0.weight"),
              "{}: the gated feed-forward (wi_0, wi_1) of mT5 and T5 v1.1 was expected but the file has T5 1.0's", file);
  // Which of the two names of the shared embedding a file keeps is the writer's choice.
  const std::string embedding = b.has("shared.weight") ? "shared.weight" : "encoder.embed_tokens.weight";
  const Shape vocabulary = b.shape(embedding, 2), bias = b.shape(first + "relative_attention_bias.weight", 2);
  const int64_t inner = b.shape(first + "q.weight", 2)[0];
  check_input(inner % bias[1] == 0, "{}: {} rows of q must be a multiple of the {} heads of the bias", file, inner, bias[1]);
  nlohmann::json json = {
      {"vocab_size", vocabulary[0]},
      {"d_model", vocabulary[1]},
      {"num_heads", bias[1]},
      {"d_kv", inner / bias[1]},
      {"d_ff", b.shape("encoder.block.0.layer.1.DenseReluDense.wi_0.weight", 2)[0]},
      {"num_layers", b.count("encoder.block.", ".layer.0.SelfAttention.q.weight")},
      {"relative_attention_num_buckets", bias[0]},
      {"relative_attention_max_distance", b.config_or("relative_attention_max_distance", 128)},
      {"layer_norm_epsilon", b.config_or("layer_norm_epsilon", 1e-6)},
      {"feed_forward_proj", b.config_or("feed_forward_proj", "gated-gelu")}};
  for (const char* key : {"vocab_size", "d_model", "num_heads", "d_kv", "d_ff", "num_layers", "relative_attention_num_buckets"}) {
    b.must_agree(key, json[key]);
  }
  const T5Config config = T5Config::from_json(json, b.config().is_null() ? file : b.config_name());
  b.result.model = fmt::format("mT5 encoder, {} layers of width {}, {} pieces", config.num_layers, config.d_model, config.vocab_size);
  b.result.config = config.to_json();
  b.result.config["model_type"] = "mt5";
  b.result.verify = builds<T5Encoder>(config);
  if (b.config().is_null()) b.result.notes.push_back("no config.json beside: relative_attention_max_distance 128 and layer_norm_epsilon 1e-6 are assumed");
  b.take(embedding, "shared.weight");
  b.leave("encoder.embed_tokens.weight", "another name of shared.weight");
  b.leave("decoder.", "the decoder: only the encoder is used");
  b.leave("lm_head.", "the decoder's output layer");
  for (int64_t i = 0; i < config.num_layers; ++i) b.take_all(fmt::format("encoder.block.{}.", i), fmt::format("encoder.block.{}.", i));
  b.take_all("encoder.final_layer_norm.", "encoder.final_layer_norm.");
  return true;
}

bool convert_xlm_roberta(ConversionBuilder& b) {
  std::string prefix;
  bool found = false;
  for (const char* candidate : {"transformer.", "roberta.", ""}) {
    if (found || !b.has(std::string(candidate) + "embeddings.word_embeddings.weight")) continue;
    prefix = candidate;
    found = true;
  }
  const std::string embeddings = prefix + "embeddings.", layer = prefix + "encoder.layer.", file = b.file().path().string();
  if (!found || !b.has(layer + "0.attention.self.query.weight")) return false;
  const nlohmann::json type = b.config_or("model_type", "xlm-roberta");
  check_input(type == "xlm-roberta" || type == "M-CLIP", "{}: model_type must be \"xlm-roberta\" or \"M-CLIP\" but is {}", b.config_name(), shown(type));
  const Shape vocabulary = b.shape(embeddings + "word_embeddings.weight", 2);
  const Shape types = b.shape(embeddings + "token_type_embeddings.weight", 2);
  check_input(types[0] == 1, "{}: XLM-R's one type of tokens was expected but {} has {}: a BERT's", file,
              quote(embeddings + "token_type_embeddings.weight"), types[0]);
  const nlohmann::json json = {
      {"vocab_size", vocabulary[0]},
      {"hidden_size", vocabulary[1]},
      {"num_hidden_layers", b.count(layer, ".attention.self.query.weight")},
      {"num_attention_heads", b.config_or("num_attention_heads", std::max<int64_t>(1, vocabulary[1] / 64))},
      {"intermediate_size", b.shape(layer + "0.intermediate.dense.weight", 2)[0]},
      {"max_position_embeddings", b.shape(embeddings + "position_embeddings.weight", 2)[0]},
      {"type_vocab_size", types[0]},
      {"pad_token_id", b.config_or("pad_token_id", 1)},
      {"layer_norm_eps", b.config_or("layer_norm_eps", 1e-5)},
      {"hidden_act", b.config_or("hidden_act", "gelu")},
      {"position_embedding_type", b.config_or("position_embedding_type", "absolute")}};
  for (const char* key : {"vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings"}) {
    b.must_agree(key, json[key]);
  }
  const XlmRobertaConfig config = XlmRobertaConfig::from_json(json, b.config().is_null() ? file : b.config_name());
  if (b.config_or("num_attention_heads", {}).is_null()) {
    b.result.notes.push_back(fmt::format("no config says the number of heads: {} of width 64 are assumed", config.num_attention_heads));
  }
  const bool multilingual = prefix == "transformer." && b.has("LinearTransformation.weight");
  const std::string target = multilingual ? "transformer." : "";
  b.take_all(embeddings + "word_embeddings.", target + "embeddings.word_embeddings.");
  b.take_all(embeddings + "position_embeddings.", target + "embeddings.position_embeddings.");
  b.take_all(embeddings + "token_type_embeddings.", target + "embeddings.token_type_embeddings.");
  b.take_all(embeddings + "LayerNorm.", target + "embeddings.LayerNorm.");
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    b.take_all(fmt::format("{}{}.", layer, i), fmt::format("{}encoder.layer.{}.", target, i));
  }
  b.leave(embeddings + "position_ids", "0, 1, 2, ...");
  b.leave(prefix + "pooler.", "the pooler: the model averages the last hidden state");
  b.leave("lm_head.", "the masked language model's output layer");
  const std::string size = fmt::format("{} layers of width {}, {} pieces", config.num_hidden_layers, config.hidden_size, config.vocab_size);
  if (multilingual) {
    const MultilingualClipConfig whole{config, b.shape("LinearTransformation.weight", 2)[0]};
    b.must_agree("numDims", whole.num_dims);
    b.take_all("LinearTransformation.", "LinearTransformation.");
    b.result.model = fmt::format("M-CLIP text tower (XLM-R), {}, {} numbers a text", size, whole.num_dims);
    b.result.config = whole.to_json();
    b.result.verify = builds<MultilingualClipText>(whole);
  } else {
    b.result.model = "XLM-RoBERTa, " + size;
    b.result.config = config.to_json();
    b.result.verify = builds<XlmRoberta>(config);
  }
  return true;
}

}  // namespace weft
