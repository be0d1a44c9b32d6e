// CLIP from OpenAI's TorchScript archive, open_clip's files, whose names weft keeps, and Hugging Face's CLIPModel, in
// which queries, keys and values are matrices of their own and projections are transposed.
#include "apps/conversion.h"
#include <cmath>

#include "models/clip.h"
#include "nn/config.h"
#include "tensor/atomic_file.h"

namespace weft {

namespace {

struct Towers {
  std::string vision, text;  // "visual.transformer.resblocks." and the like
  std::string attention, mlp;
};

// What the shapes say, in open_clip's words; `text_heads` and activation come from elsewhere.
nlohmann::json config_of(const ConversionBuilder& b, const Shape& conv, int64_t positions, const Shape& tokens, int64_t context,
                         int64_t embed_dim, int64_t vision_layers, int64_t text_layers, int64_t hidden) {
  const auto grid = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(positions - 1))));
  check_input(grid * grid == positions - 1 && conv[2] == conv[3],
              "{}: a square of patches and a class token were expected but there are {} positions and patches of {} x {}",
              b.file().path().string(), positions, conv[2], conv[3]);
  const double ratio = static_cast<double>(hidden) / static_cast<double>(conv[0]);
  return {{"embed_dim", embed_dim},
          {"vision_cfg", {{"image_size", grid * conv[2]}, {"patch_size", conv[2]}, {"width", conv[0]}, {"layers", vision_layers},
                          {"heads", std::max<int64_t>(1, conv[0] / 64)}, {"mlp_ratio", ratio}}},
          {"text_cfg", {{"context_length", context}, {"vocab_size", tokens[0]}, {"width", tokens[1]}, {"layers", text_layers},
                        {"heads", std::max<int64_t>(1, tokens[1] / 64)}, {"mlp_ratio", ratio}}}};
}

void finish(ConversionBuilder& b, const nlohmann::json& json) {
  const ClipConfig config = ClipConfig::from_json(json, b.config().is_null() ? b.file().path().string() : b.config_name());
  b.result.model = fmt::format("CLIP ViT-{}x{}/{}, {} numbers, {}", config.image_size, config.image_size, config.patch_size,
                               config.embed_dim, config.quick_gelu ? "QuickGELU" : "GELU");
  b.result.config = config.to_json();
  b.result.verify = [config](const Safetensors& weights) {
    ParameterSet set;
    const Clip model(Params(set).trainable(false).from(weights), config);
    set.check_all_used();
  };
}

// open_clip_config.json beside the file holds the configuration under "model_cfg".
nlohmann::json open_clip_config(const ConversionBuilder& b) {
  const auto beside = b.file().path().parent_path() / "open_clip_config.json";
  if (b.options().config.empty() && std::filesystem::exists(beside)) {
    const nlohmann::json json = read_json_file(beside);
    if (json.is_object() && json.contains("model_cfg")) return json["model_cfg"];
  }
  if (b.config().is_object() && b.config().contains("model_cfg")) return b.config()["model_cfg"];
  return b.config().is_object() && b.config().contains("vision_cfg") ? b.config() : nlohmann::json();
}

bool convert_openai(ConversionBuilder& b, const std::string& p) {
  const bool openai = b.has(p + "input_resolution");
  const Shape conv = b.shape(p + "visual.conv1.weight", 4), tokens = b.shape(p + "token_embedding.weight", 2);
  nlohmann::json json = config_of(b, conv, b.shape(p + "visual.positional_embedding", 2)[0], tokens,
                                  b.shape(p + "positional_embedding", 2)[0], b.shape(p + "text_projection", 2)[1],
                                  b.count(p + "visual.transformer.resblocks.", ".ln_1.weight"),
                                  b.count(p + "transformer.resblocks.", ".ln_1.weight"),
                                  b.shape(p + "visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0]);
  const nlohmann::json known = open_clip_config(b);
  if (known.is_object()) {
    json["quick_gelu"] = known.contains("quick_gelu") ? known["quick_gelu"] : nlohmann::json(false);
    for (const char* tower : {"vision_cfg", "text_cfg"}) {
      for (const char* key : {"heads", "head_width"}) {
        if (known.contains(tower) && known[tower].is_object() && known[tower].contains(key)) {
          json[tower].erase("heads");
          json[tower][key] = known[tower][key];
        }
      }
    }
  } else {
    json["quick_gelu"] = openai;
    if (!openai) b.result.notes.push_back("no open_clip_config.json beside: GELU, open_clip's default, is assumed; heads of width 64 too");
  }
  for (const char* name : {"input_resolution", "context_length", "vocab_size"}) b.leave(p + name, "said by the shapes");
  b.leave(p, "the causal mask", "attn_mask");
  b.take_all(p + "visual.", "visual.");
  for (const char* name : {"transformer.", "token_embedding.", "ln_final."}) b.take_all(p + name, name);
  for (const char* name : {"positional_embedding", "text_projection"}) b.take(p + name, name);
  b.take_reshaped(p + "logit_scale", "logit_scale", {});
  finish(b, json);
  return true;
}

void take_block(ConversionBuilder& b, const std::string& from, const std::string& to) {
  for (const char* part : {"weight", "bias"}) {
    const std::string dot = std::string(".") + part;
    const std::string attention = from + "self_attn.";
    b.take_joined({attention + "q_proj" + dot, attention + "k_proj" + dot, attention + "v_proj" + dot},
                  to + "attn.in_proj_" + part);
    b.take(attention + "out_proj" + dot, to + "attn.out_proj" + dot);
    b.take(from + "layer_norm1" + dot, to + "ln_1" + dot);
    b.take(from + "layer_norm2" + dot, to + "ln_2" + dot);
    b.take(from + "mlp.fc1" + dot, to + "mlp.c_fc" + dot);
    b.take(from + "mlp.fc2" + dot, to + "mlp.c_proj" + dot);
  }
}

bool convert_hugging_face(ConversionBuilder& b) {
  const std::string vision = "vision_model.", text = "text_model.";
  const Shape positions = b.shape(text + "embeddings.position_embedding.weight", 2);
  nlohmann::json json = config_of(b, b.shape(vision + "embeddings.patch_embedding.weight", 4),
                                  b.shape(vision + "embeddings.position_embedding.weight", 2)[0],
                                  b.shape(text + "embeddings.token_embedding.weight", 2), positions[0],
                                  b.shape("visual_projection.weight", 2)[0],
                                  b.count(vision + "encoder.layers.", ".layer_norm1.weight"),
                                  b.count(text + "encoder.layers.", ".layer_norm1.weight"),
                                  b.shape(vision + "encoder.layers.0.mlp.fc1.weight", 2)[0]);
  json["quick_gelu"] = true;
  if (b.config().is_null()) b.result.notes.push_back("no config.json beside: QuickGELU and heads of width 64, as OpenAI's, are assumed");
  for (const auto& [part, tower] : {std::pair{"vision_config", "vision_cfg"}, {"text_config", "text_cfg"}}) {
    const nlohmann::json said = b.config_or(part, nlohmann::json::object());
    if (!said.is_object()) continue;
    // transformers leaves out what equals its defaults, which are those of ViT-B/32.
    if (said.contains("num_attention_heads")) json[tower]["heads"] = said["num_attention_heads"];
    const nlohmann::json activation = said.value("hidden_act", nlohmann::json("quick_gelu"));
    check_input(activation == "quick_gelu" || activation == "gelu", "{}: {}.hidden_act must be \"quick_gelu\" or \"gelu\" but is {}",
                b.config_name(), part, shown(activation));
    json["quick_gelu"] = activation == "quick_gelu";
    const nlohmann::json eps = said.value("layer_norm_eps", nlohmann::json(1e-5));
    check_input(eps == 1e-5, "{}: {}.layer_norm_eps must be 1e-5 but is {}", b.config_name(), part, shown(eps));
  }
  const int64_t width = json["vision_cfg"]["width"];
  b.take(vision + "embeddings.patch_embedding.weight", "visual.conv1.weight");
  b.take_reshaped(vision + "embeddings.class_embedding", "visual.class_embedding", {width});
  b.take(vision + "embeddings.position_embedding.weight", "visual.positional_embedding");
  b.take_all(vision + "pre_layrnorm.", "visual.ln_pre.");  // transformers' spelling
  b.take_all(vision + "post_layernorm.", "visual.ln_post.");
  b.take_transposed("visual_projection.weight", "visual.proj");
  b.take(text + "embeddings.token_embedding.weight", "token_embedding.weight");
  b.take(text + "embeddings.position_embedding.weight", "positional_embedding");
  b.take_all(text + "final_layer_norm.", "ln_final.");
  b.take_transposed("text_projection.weight", "text_projection");
  b.take_reshaped("logit_scale", "logit_scale", {});
  for (const auto& [from, to, tower] : {std::tuple{vision, "visual.transformer.resblocks.", "vision_cfg"}, {text, "transformer.resblocks.", "text_cfg"}}) {
    for (int64_t i = 0; i < json[tower]["layers"]; ++i) {
      take_block(b, fmt::format("{}encoder.layers.{}.", from, i), fmt::format("{}{}.", to, i));
    }
    b.leave(from + "embeddings.position_ids", "0, 1, 2, ...");
  }
  finish(b, json);
  return true;
}

}  // namespace

bool convert_clip(ConversionBuilder& b) {
  if (b.has("vision_model.embeddings.patch_embedding.weight")) {
    check_input(b.has("visual_projection.weight") && b.has("text_projection.weight"),
                "{}: both towers of CLIP with their projections were expected", b.file().path().string());
    return convert_hugging_face(b);
  }
  // open_clip's training checkpoints keep the model under state_dict, after distributed training under module.
  for (const std::string prefix : {"", "state_dict.", "state_dict.module."}) {
    if (b.has(prefix + "visual.class_embedding") && b.has(prefix + "token_embedding.weight")) return convert_openai(b, prefix);
  }
  return false;
}

}  // namespace weft
