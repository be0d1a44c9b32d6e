#include "apps/training_model.h"

#include <nlohmann/json.hpp>

#include "data/image.h"
#include "nn/config.h"
#include "nn/model_folder.h"
#include "tensor/atomic_file.h"

namespace weft {

namespace {

namespace fs = std::filesystem;

// Where the tokenizer is.
fs::path text_folder(const TrainingOptions& o) {
  return o.text_encoder == "scratch" ? o.data : fs::path(o.text_encoder);
}

// A tower's configuration from a folder of pretrained weights.
template <class Config> Config tower_config(const std::string& folder) {
  const fs::path file = fs::path(folder) / "config.json";
  return Config::from_json(read_json_file(file), file.string());
}

// The image tower's weights if it does not start from scratch, whose sizes then replace the options'.
std::optional<Safetensors> image_weights(TrainingOptions& o) {
  if (o.image_encoder == "scratch") return std::nullopt;
  o.model.image = tower_config<ResNextConfig>(o.image_encoder);
  return Safetensors(fs::path(o.image_encoder) / "model.safetensors");
}

void make_embracenet(TrainingModel& made, TrainingOptions& o) {
  ClassifierConfig& config = o.model;
  const SentencePiece& tokenizer = *made.classifier.tokenizer;
  config.label_sources.assign(kLabelSources.begin(), kLabelSources.end());
  std::optional<Safetensors> text_file;
  if (o.text_encoder == "scratch") {
    config.text.vocab_size = tokenizer.size();
  } else {
    check_input(o.name_only == 0, "--name-only {}: the texts of a frozen text encoder ({}) do not change", o.name_only,
                o.text_encoder);
    config.text = tower_config<T5Config>(o.text_encoder);
    config.text_frozen = true;
    check_input(tokenizer.size() <= config.text.vocab_size,
                "{}/spiece.model: at most {} pieces (config.json's vocab_size) were expected but there are {}",
                o.text_encoder, config.text.vocab_size, tokenizer.size());
    text_file.emplace(fs::path(o.text_encoder) / "model.safetensors");
  }
  const std::optional<Safetensors> image_file = image_weights(o);
  config.image.classes = 0;
  made.classifier.embracenet =
      std::make_unique<EmbraceNetClassifier>(*made.classifier.parameters, config, text_file ? &*text_file : nullptr,
                                             image_file ? &*image_file : nullptr);
}

void make_resnext(TrainingModel& made, TrainingOptions& o) {
  const std::optional<Safetensors> image_file = image_weights(o);
  ImageClassifierConfig config{o.model.image, o.model.image_height, o.model.image_width, o.model.categories};
  config.image.classes = static_cast<int64_t>(config.categories.size());
  made.classifier.resnext =
      std::make_unique<ImageClassifier>(*made.classifier.parameters, config, image_file ? &*image_file : nullptr);
}

}  // namespace

TrainingModel TrainingModel::make(TrainingOptions& o, const CommonOptions& common, const GlamiTable& table) {
  TrainingModel made;
  made.classifier.name = o.out.string();
  o.model.categories = table.categories().names();
  if (o.kind == ClassifierKind::embracenet) {
    made.classifier.tokenizer = SentencePiece::load(text_folder(o));
    made.tokens.emplace(*made.classifier.tokenizer, table, o.model.max_tokens, o.name_only > 0);
  }
  made.classifier.parameters =
      std::make_unique<ParameterSet>(common.seed, DType::f32, device_from_name(common.device));
  o.kind == ClassifierKind::embracenet ? make_embracenet(made, o) : make_resnext(made, o);
  made.classifier.parameters->check_all_used({"fc."});
  return made;
}

void TrainingModel::prepare_cache(const TrainingOptions& o, const CommonOptions& common, const GlamiTable& table) {
  if (o.kind != ClassifierKind::embracenet || !o.model.text_frozen) return;
  const fs::path copy = o.out / "text_encoder";
  fs::create_directories(copy);
  for (const char* name : {"config.json", "model.safetensors"}) {
    fs::copy_file(fs::path(o.text_encoder) / name, copy / name, fs::copy_options::overwrite_existing);
  }
  cache = std::make_unique<TextCache>(*classifier.embracenet, fs::path(o.text_encoder) / "model.safetensors", *tokens,
                                      table, o.out / "text_features.safetensors", dtype_from_name(common.dtype),
                                      common.quiet);
}

void TrainingModel::save(const TrainingOptions& o) const {
  if (classifier.resnext) {
    save_model_folder(o.out, classifier.resnext->config.to_json(), *classifier.parameters);
    return;
  }
  // The tokenizer gets its name last, so that a full disk leaves the model that was there.
  const std::vector<uint8_t> tokenizer = read_file(text_folder(o) / "spiece.model", 1 << 30);
  AtomicFile copy(o.out / "spiece.model");
  copy.write(tokenizer.data(), tokenizer.size());
  save_model_folder(o.out, o.model.to_json(), *classifier.parameters);
  copy.commit();
}

}  // namespace weft
