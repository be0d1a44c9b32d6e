#include "apps/classifier.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/arrange.h"
#include "kernels/cast.h"
#include "nn/config.h"
#include "tensor/autograd.h"

namespace weft {

Modalities Modalities::parse(const std::string& name) {
  Modalities m{false, false, false};
  size_t begin = 0;
  while (begin <= name.size()) {
    const size_t end = std::min(name.find('+', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    bool* which = part == "text" ? &m.text : part == "image" ? &m.image : part == "source" ? &m.source : nullptr;
    check(which && !*which, "[modalities] the name must join text, image and source with + but is '{}'", name);
    *which = true;
    begin = end + 1;
  }
  return m;
}

std::string Modalities::name() const {
  std::string joined;
  const auto add = [&](bool on, const char* part) {
    if (on && !joined.empty()) joined += '+';
    if (on) joined += part;
  };
  add(text, "text");
  add(image, "image");
  add(source, "source");
  return joined;
}

namespace {

Classifier load_resnext(const std::filesystem::path& folder, const nlohmann::json& json, Device device) {
  const auto config = ImageClassifierConfig::from_json(json, (folder / "config.json").string());
  Classifier c{folder.string(), std::make_unique<ParameterSet>(0, DType::f32, device), nullptr, nullptr, {}};
  const Params frozen = Params(*c.parameters).trainable(false).from(Safetensors(folder / "model.safetensors"));
  c.resnext = std::make_unique<ImageClassifier>(frozen, config);
  c.parameters->check_all_used();
  return c;
}

Classifier load_embracenet(const std::filesystem::path& folder, const nlohmann::json& json, Device device) {
  const ClassifierConfig config = ClassifierConfig::from_json(json, (folder / "config.json").string());
  SentencePiece tokenizer = SentencePiece::load(folder / "spiece.model");
  check_input(tokenizer.size() <= config.text.vocab_size && tokenizer.eos_id() >= 0,
              "{}: a tokenizer of at most {} pieces with an end of sentence was expected but it has {} pieces",
              (folder / "spiece.model").string(), config.text.vocab_size, tokenizer.size());
  Classifier c{folder.string(), std::make_unique<ParameterSet>(0, DType::f32, device), nullptr, nullptr,
               std::move(tokenizer)};
  const Params frozen = Params(*c.parameters).trainable(false).from(Safetensors(folder / "model.safetensors"));
  std::optional<Safetensors> text_file;
  if (config.text_frozen) text_file.emplace(folder / "text_encoder" / "model.safetensors");
  c.embracenet = std::make_unique<EmbraceNetClassifier>(frozen, config, text_file ? &*text_file : nullptr);
  c.parameters->check_all_used();
  return c;
}

}  // namespace

Classifier Classifier::load(const std::filesystem::path& folder, Device device) {
  check_input(std::filesystem::is_directory(folder), "{}: a model folder was expected but there is none",
              folder.string());
  const std::filesystem::path file = folder / "config.json";
  const nlohmann::json json = read_json_file(file);
  const std::string model = ConfigReader(json, file.string()).choice("model", {"embracenet", "resnext"}, "none");
  return model == "resnext" ? load_resnext(folder, json, device) : load_embracenet(folder, json, device);
}

const std::vector<std::string>& Classifier::categories() const {
  return resnext ? resnext->config.categories : embracenet->config.categories;
}

int64_t Classifier::image_height() const {
  return resnext ? resnext->config.image_height : embracenet->config.image_height;
}

int64_t Classifier::image_width() const {
  return resnext ? resnext->config.image_width : embracenet->config.image_width;
}

Device Classifier::device() const { return resnext ? resnext->device() : embracenet->device(); }

void Classifier::check_reads(const Modalities& modalities) const {
  check_input(!resnext || (modalities.image && !modalities.text && !modalities.source),
              "{}: this model (ResNeXt) reads an image alone but {} was given", name, modalities.name());
}

int64_t Classifier::docked_width() const {
  return resnext ? static_cast<int64_t>(categories().size()) : embracenet->config.embracement;
}

Tensor Classifier::dock_images(const Tensor& images) const {
  return resnext ? (*resnext)(images)
                 : embracenet->head.dock(image_modality, embracenet->image_encoder.features(images));
}

Tensor Classifier::join(const Tensors& docked) const {
  return resnext ? docked[image_modality] : stack_modalities(docked);
}

Tensor Classifier::logits(const Tensor& joined, const Modalities& modalities, Random* draw) const {
  if (resnext) return joined;
  return embracenet->head(joined, modality_weights(joined.dim(0), modalities, embracenet->config.selection), draw);
}

Tensor dock_texts(const EmbraceNetClassifier& model, const TokenTable& tokens, std::span<const uint32_t> rows,
                  DType dtype) {
  const bool trim = model.config.pooling == TextPooling::mean;
  std::vector<uint32_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return tokens.length(rows[a]) < tokens.length(rows[b]); });
  Tensor docked = Tensor::empty({static_cast<int64_t>(rows.size()), model.config.embracement}, dtype, model.device());
  const NoGrad no_grad;
  constexpr size_t batch = 256;
  for (size_t begin = 0; begin < order.size(); begin += batch) {
    const size_t end = std::min(order.size(), begin + batch);
    std::vector<uint32_t> part;
    for (size_t i = begin; i < end; ++i) part.push_back(rows[order[i]]);
    const TokenizedBatch texts = tokens.batch(part, trim);
    const Tensor result = model.head.dock(text_modality, model.text_features(texts.ids, texts.mask, dtype));
    for (size_t i = begin; i < end; ++i) {
      docked.leading(order[i], order[i] + 1)
          .copy_from(result.leading(static_cast<int64_t>(i - begin), static_cast<int64_t>(i - begin) + 1));
    }
  }
  return docked;
}

Tensor image_tensor(const std::vector<float>& pixels, int64_t count, int64_t height, int64_t width, DType dtype,
                    Device device) {
  return cast(Tensor::from(pixels, {count, height, width, 3}).to(device), dtype);
}

Tensor source_tensor(const GlamiTable& table, std::span<const uint32_t> rows, int64_t sources, DType dtype,
                     Device device) {
  std::vector<int64_t> ids;
  for (uint32_t row : rows) ids.push_back(static_cast<int64_t>(table[row].label_source));
  return one_hot(Tensor::from(ids, {static_cast<int64_t>(ids.size())}), sources, dtype).to(device);
}

Tensor modality_weights(int64_t rows, const Modalities& modalities,
                        const std::array<double, modality_count>& selection) {
  const bool on[] = {modalities.text, modalities.image, modalities.source};
  std::vector<float> weights;
  for (int64_t i = 0; i < rows; ++i) {
    for (int k = 0; k < modality_count; ++k) weights.push_back(on[k] ? static_cast<float>(selection[k]) : 0.0f);
  }
  return Tensor::from(weights, {rows, modality_count});
}

}  // namespace weft
