#include "models/embracenet.h"

#include <nlohmann/json.hpp>

#include "kernels/arithmetic.h"
#include "kernels/arrange.h"
#include "kernels/cast.h"
#include "kernels/embracement.h"
#include "kernels/reduce.h"
#include "nn/config.h"

namespace weft {

EmbraceNet::EmbraceNet(const Params& p, const EmbraceNetConfig& c)
    : config(c), post(p / "post", c.embracement, c.classes) {
  for (int k = 0; k < modality_count; ++k) {
    docking.emplace_back(p / "embracenet" / fmt::format("docking_{}", k), c.inputs[k], c.embracement);
  }
}

Tensor EmbraceNet::dock(Modality modality, const Tensor& features) const {
  return docking[modality](features, Activation::relu);
}

Tensor EmbraceNet::operator()(const Tensor& docked, const Tensor& weights, Random* random) const {
  return post(embracement(docked, weights, random, {.expected = random == nullptr}));
}

Tensor stack_modalities(const Tensors& docked) {
  const auto present = std::find_if(docked.begin(), docked.end(), [](const Tensor& t) { return t.defined(); });
  check(present != docked.end(), "[stack_modalities] at least one modality must be present");
  Tensors parts;
  for (const Tensor& t : docked) {
    const Tensor part = t.defined() ? t : zeros_like(present->detach());
    parts.push_back(part.reshape({part.dim(0), 1, part.dim(1)}));
  }
  return concat(parts, 1);
}

EmbraceNetConfig ClassifierConfig::head() const {
  EmbraceNetConfig c;
  c.inputs = {pooling == TextPooling::flatten ? max_tokens * text.d_model : text.d_model, image.features(),
              static_cast<int64_t>(label_sources.size())};
  c.embracement = embracement;
  c.classes = static_cast<int64_t>(categories.size());
  return c;
}

ClassifierConfig ClassifierConfig::from_json(const nlohmann::json& json, const std::string& file) {
  ClassifierConfig c;
  const ConfigReader read(json, file);
  read.choice("model", {"embracenet"});
  c.text = T5Config::from_json(read.object("text_encoder"), file + ": text_encoder");
  c.image = ResNextConfig::from_json(read.object("image_encoder"), file + ": image_encoder");
  c.embracement = read.integer("embracement", 1, 1 << 16);
  c.max_tokens = read.integer("max_tokens", 1, 1 << 12);
  c.image_height = read.integer("image_height", 8, 1 << 13);
  c.image_width = read.integer("image_width", 8, 1 << 13);
  c.pooling = read.choice("text_pooling", {"flatten", "mean"}) == "mean" ? TextPooling::mean : TextPooling::flatten;
  c.selection = {read.number("text_selection", 1e-6, 1e6, 1), read.number("image_selection", 1e-6, 1e6, 1),
                 read.number("source_selection", 1e-6, 1e6, 1)};
  c.text_frozen = read.flag("text_frozen");
  c.categories = read.sorted_texts("categories");
  c.label_sources = read.texts("label_sources");
  check_input(!c.categories.empty() && !c.label_sources.empty(), "{}: categories and label_sources must not be empty",
              file);
  return c;
}

nlohmann::json ClassifierConfig::to_json() const {
  return {{"model", "embracenet"},
          {"text_encoder", text.to_json()},
          {"image_encoder", image.to_json()},
          {"embracement", embracement},
          {"max_tokens", max_tokens},
          {"image_height", image_height},
          {"image_width", image_width},
          {"text_pooling", pooling == TextPooling::mean ? "mean" : "flatten"},
          {"text_frozen", text_frozen},
          {"text_selection", selection[text_modality]},
          {"image_selection", selection[image_modality]},
          {"source_selection", selection[source_modality]},
          {"categories", categories},
          {"label_sources", label_sources}};
}

EmbraceNetClassifier::EmbraceNetClassifier(const Params& p, const ClassifierConfig& c, const Safetensors* text_file,
                                           const Safetensors* image_file)
    : config(c),
      text_encoder(text_file ? (p / "text_encoder").from(*text_file).trainable(!c.text_frozen) : p / "text_encoder",
                   c.text),
      image_encoder(image_file ? (p / "pre_2").from(*image_file) : p / "pre_2", c.image),
      head(p, c.head()) {}

Tensor EmbraceNetClassifier::text_features(const Tensor& ids, const Tensor& mask, DType dtype, Random* random) const {
  const Tensor hidden = text_encoder(ids, mask, dtype, random);  // [B, T, d_model]
  const int64_t T = hidden.dim(1);
  check(config.pooling != TextPooling::flatten || T == config.max_tokens,
        "[embracenet] flattened texts must have {} positions but have {}", config.max_tokens, T);
  return pool_text(hidden, mask, config.pooling);
}

}  // namespace weft
