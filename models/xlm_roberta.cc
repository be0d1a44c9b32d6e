#include "models/xlm_roberta.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/arithmetic.h"
#include "kernels/cast.h"
#include "models/text_pooling.h"
#include "nn/config.h"
#include "nn/packing.h"

namespace weft {

XlmRobertaConfig XlmRobertaConfig::from_json(const nlohmann::json& json, const std::string& file) {
  XlmRobertaConfig c;
  const ConfigReader read(json, file);
  c.vocab_size = read.integer("vocab_size", 1, 1 << 24);
  c.hidden_size = read.integer("hidden_size", 1, 1 << 14);
  c.num_hidden_layers = read.integer("num_hidden_layers", 0, 1 << 10);
  c.num_attention_heads = read.integer("num_attention_heads", 1, 1 << 10);
  check_input(c.hidden_size % c.num_attention_heads == 0,
              "{}: hidden_size must be a multiple of num_attention_heads but they are {} and {}", file, c.hidden_size,
              c.num_attention_heads);
  c.intermediate_size = read.integer("intermediate_size", 1, 1 << 18);
  c.pad_token_id = read.integer("pad_token_id", 0, 1 << 10, c.pad_token_id);
  c.max_position_embeddings = read.integer("max_position_embeddings", c.pad_token_id + 2, 1 << 20);
  c.type_vocab_size = read.integer("type_vocab_size", 1, 1 << 10, c.type_vocab_size);
  c.layer_norm_eps = read.number("layer_norm_eps", 0, 1, c.layer_norm_eps);
  read.choice("hidden_act", {"gelu"}, "gelu");
  read.choice("position_embedding_type", {"absolute"}, "absolute");
  return c;
}

nlohmann::json XlmRobertaConfig::to_json() const {
  return {{"model_type", "xlm-roberta"},
          {"vocab_size", vocab_size},
          {"hidden_size", hidden_size},
          {"num_hidden_layers", num_hidden_layers},
          {"num_attention_heads", num_attention_heads},
          {"intermediate_size", intermediate_size},
          {"max_position_embeddings", max_position_embeddings},
          {"type_vocab_size", type_vocab_size},
          {"pad_token_id", pad_token_id},
          {"layer_norm_eps", layer_norm_eps},
          {"hidden_act", "gelu"},
          {"position_embedding_type", "absolute"}};
}

MultilingualClipConfig MultilingualClipConfig::from_json(const nlohmann::json& json, const std::string& file) {
  return {XlmRobertaConfig::from_json(json, file), ConfigReader(json, file).integer("numDims", 1, 1 << 14)};
}

nlohmann::json MultilingualClipConfig::to_json() const {
  nlohmann::json json = transformer.to_json();
  json["model_type"] = "M-CLIP";
  json["numDims"] = num_dims;
  return json;
}

namespace {

// transformers' initializer_range.
const Init first_weights = init::normal(0.02);

Linear dense(const Params& p, int64_t in, int64_t out) { return Linear(p, in, out, true, first_weights, init::zeros()); }

}  // namespace

XlmRobertaLayer::XlmRobertaLayer(const Params& p, const XlmRobertaConfig& c)
    : query(dense(p / "attention" / "self" / "query", c.hidden_size, c.hidden_size)),
      key(dense(p / "attention" / "self" / "key", c.hidden_size, c.hidden_size)),
      value(dense(p / "attention" / "self" / "value", c.hidden_size, c.hidden_size)),
      attention_output(dense(p / "attention" / "output" / "dense", c.hidden_size, c.hidden_size)),
      intermediate(dense(p / "intermediate" / "dense", c.hidden_size, c.intermediate_size)),
      output(dense(p / "output" / "dense", c.intermediate_size, c.hidden_size)),
      attention_norm(p / "attention" / "output" / "LayerNorm", c.hidden_size, c.layer_norm_eps),
      output_norm(p / "output" / "LayerNorm", c.hidden_size, c.layer_norm_eps) {}

XlmRoberta::XlmRoberta(const Params& p, const XlmRobertaConfig& c)
    : config(c),
      word_embeddings(p / "embeddings" / "word_embeddings", c.vocab_size, c.hidden_size, first_weights),
      position_embeddings(p / "embeddings" / "position_embeddings", c.max_position_embeddings, c.hidden_size, first_weights),
      token_type_embeddings(p / "embeddings" / "token_type_embeddings", c.type_vocab_size, c.hidden_size, first_weights),
      embeddings_norm(p / "embeddings" / "LayerNorm", c.hidden_size, c.layer_norm_eps) {
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) layers.emplace_back(p / "encoder" / "layer" / static_cast<int>(i), c);
}

namespace {

// pad + the token's number in its text, counted from 1; pad where there is no token.
Tensor positions_of(const Tensor& mask, int64_t pad) {
  const Tensor host = mask.to(Device::cpu), positions = Tensor::empty(mask.shape(), DType::i64);
  for (int64_t i = 0; i < mask.numel(); ++i) {
    positions.data<int64_t>()[i] = pad + (host.data<bool>()[i] ? i % mask.dim(1) + 1 : 0);
  }
  return positions;
}

}  // namespace

Tensor XlmRoberta::operator()(const Tensor& ids, const Tensor& mask, DType dtype) const {
  check(ids.rank() == 2 && ids.dtype() == DType::i64 && ids.dim(1) <= config.max_tokens(),
        "[xlm_roberta] ids must be i64 [B, T] with T at most {} but are {} {}", config.max_tokens(), ids.dtype(),
        ids.shape());
  check(mask.shape() == ids.shape() && mask.dtype() == DType::boolean,
        "[xlm_roberta] mask must be bool {} but is {} {}", ids.shape(), mask.dtype(), mask.shape());
  const int64_t H = config.num_attention_heads;
  const Packing packing("xlm_roberta", mask, word_embeddings.weight.device());
  AttentionOptions options;
  options.scale = 1 / std::sqrt(static_cast<double>(config.hidden_size / H));
  const Tensor places = add(position_embeddings(packing.pack(positions_of(mask, config.pad_token_id))),
                            token_type_embeddings.weight.leading(0, 1));
  Tensor x = embeddings_norm(cast(add(word_embeddings(packing.pack(ids)), places), dtype));  // [rows, hidden_size]
  for (const XlmRobertaLayer& layer : layers) {
    const Tensor attended = packing.attend(layer.query(x), layer.key(x), layer.value(x), H, options);
    x = layer.attention_norm(add(x, layer.attention_output(attended)));
    x = layer.output_norm(add(x, layer.output(layer.intermediate(x, Activation::gelu))));
  }
  return packing.unpack(x);
}

MultilingualClipText::MultilingualClipText(const Params& p, const MultilingualClipConfig& c)
    : config(c),
      transformer(p / "transformer", c.transformer),
      linear_transformation(dense(p / "LinearTransformation", c.transformer.hidden_size, c.num_dims)) {}

Tensor MultilingualClipText::operator()(const Tensor& ids, const Tensor& mask, DType dtype) const {
  return linear_transformation(pool_text(transformer(ids, mask, dtype), mask, TextPooling::mean));
}

}  // namespace weft
