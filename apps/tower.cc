#include "apps/tower.h"

#include <nlohmann/json.hpp>

#include "models/clip.h"
#include "models/resnext.h"
#include "models/t5_encoder.h"
#include "models/xlm_roberta.h"
#include "nn/config.h"

namespace weft {

namespace {

// CLIP's towers share a file, and only what begins so is the image tower's.
const std::string image_scope = "visual.";
const std::vector<std::string> text_scopes{"transformer.", "token_embedding.", "positional_embedding", "ln_final.",
                                           "text_projection", "logit_scale"};

// A folder that is being read.
struct Source {
  std::string config_file;
  nlohmann::json config;
  Architecture architecture;
  std::shared_ptr<ParameterSet> parameters;
  Params frozen;

  Source(const std::filesystem::path& folder, Device device)
      : config_file((folder / "config.json").string()),
        config(read_json_file(config_file)),
        architecture(architecture_of(config, config_file)),
        parameters(std::make_shared<ParameterSet>(0, DType::f32, device)),
        frozen(Params(*parameters).trainable(false).from(Safetensors(folder / "model.safetensors"))) {}

  [[noreturn]] void refuse(const char* expected) const {
    fail("{}: {} was expected but it is of {}", config_file, expected, name_of(architecture));
  }
};

}  // namespace

Architecture architecture_of(const nlohmann::json& config, const std::string& file) {
  const std::pair<const char*, Architecture> marks[] = {{"vision_cfg", Architecture::clip},
                                                        {"numDims", Architecture::multilingual_clip},
                                                        {"relative_attention_num_buckets", Architecture::t5},
                                                        {"width_per_group", Architecture::resnext},
                                                        {"num_hidden_layers", Architecture::xlm_roberta}};
  for (const auto& [key, architecture] : marks) {
    if (config.is_object() && config.contains(key)) return architecture;
  }
  fail("{}: the config of CLIP, multilingual CLIP, XLM-RoBERTa, mT5 or ResNeXt was expected but none of their keys was found",
       file);
}

std::string_view name_of(Architecture architecture) {
  switch (architecture) {
    case Architecture::clip: return "CLIP";
    case Architecture::multilingual_clip: return "multilingual CLIP";
    case Architecture::xlm_roberta: return "XLM-RoBERTa";
    case Architecture::t5: return "mT5";
    case Architecture::resnext: return "ResNeXt";
  }
  return "";
}

ImageTower ImageTower::load(const std::filesystem::path& folder, Device device) {
  const Source source(folder, device);
  ImageTower tower{source.architecture, 0, 0, {}, source.parameters};
  if (source.architecture == Architecture::clip) {
    const ClipConfig config = ClipConfig::from_json(source.config, source.config_file);
    const auto model = std::make_shared<ClipVision>(source.frozen / "visual", config);
    source.parameters->check_all_used(text_scopes);
    tower.width = config.embed_dim, tower.side = config.image_size;
    tower.embed = [model](const Tensor& images) { return (*model)(images); };
  } else if (source.architecture == Architecture::resnext) {
    ResNextConfig config = ResNextConfig::from_json(source.config, source.config_file);
    config.classes = 0;
    const auto model = std::make_shared<ResNext>(source.frozen, config);
    source.parameters->check_all_used({"fc."});
    tower.width = config.features();
    tower.embed = [model](const Tensor& images) { return model->features(images); };
  } else {
    source.refuse("a model of images");
  }
  return tower;
}

TextTower TextTower::load(const std::filesystem::path& folder, Device device) {
  const Source source(folder, device);
  TextTower tower{source.architecture, 0, 0, 0, false, {}, source.parameters};
  const auto take = [&](const auto& model, int64_t width, int64_t max_tokens, int64_t vocabulary, bool sequence,
                        const std::vector<std::string>& ignored) {
    source.parameters->check_all_used(ignored);
    tower.width = width, tower.max_tokens = max_tokens, tower.vocabulary = vocabulary, tower.sequence = sequence;
    tower.embed = [model](const Tensor& ids, const Tensor& mask, DType dtype) { return (*model)(ids, mask, dtype); };
  };
  switch (source.architecture) {
    case Architecture::clip: {
      const ClipConfig c = ClipConfig::from_json(source.config, source.config_file);
      const auto model = std::make_shared<ClipText>(source.frozen, c);
      const auto without_mask = [model](const Tensor& ids, const Tensor&, DType dtype) { return (*model)(ids, dtype); };
      take(std::make_shared<decltype(without_mask)>(without_mask), c.embed_dim, c.context_length, c.vocab_size, false,
           {image_scope, "logit_scale"});
      return tower;
    }
    case Architecture::multilingual_clip: {
      const auto c = MultilingualClipConfig::from_json(source.config, source.config_file);
      take(std::make_shared<MultilingualClipText>(source.frozen, c), c.num_dims, c.transformer.max_tokens(),
           c.transformer.vocab_size, false, {"transformer.pooler.", "transformer.embeddings.position_ids"});
      return tower;
    }
    case Architecture::xlm_roberta: {
      const auto c = XlmRobertaConfig::from_json(source.config, source.config_file);
      take(std::make_shared<XlmRoberta>(source.frozen, c), c.hidden_size, c.max_tokens(), c.vocab_size, true,
           {"pooler.", "embeddings.position_ids"});
      return tower;
    }
    case Architecture::t5: {
      const T5Config c = T5Config::from_json(source.config, source.config_file);
      take(std::make_shared<T5Encoder>(source.frozen, c), c.d_model, int64_t{1} << 16, c.vocab_size, true, {});
      return tower;
    }
    case Architecture::resnext:
      break;
  }
  source.refuse("a model of texts");
}

}  // namespace weft
