#include "apps/text_to_image.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/conv2d.h"
#include "models/embracenet.h"
#include "nn/config.h"
#include "tensor/autograd.h"

namespace weft {

namespace fs = std::filesystem;

TextEncoder TextEncoder::load(const fs::path& folder, Device device) {
  check_input(fs::is_directory(folder), "{}: a folder with a text encoder was expected but there is none",
              folder.string());
  if (fs::exists(folder / "text_encoder" / "config.json")) return load(folder / "text_encoder", device);
  const fs::path file = folder / "config.json";
  const nlohmann::json json = read_json_file(file);
  const bool embracenet = json.is_object() && json.value("model", nlohmann::json()) == "embracenet";
  const T5Config config =
      embracenet ? ClassifierConfig::from_json(json, file.string()).text : T5Config::from_json(json, file.string());
  TextEncoder encoder{std::make_unique<ParameterSet>(0, DType::f32, device), nullptr};
  const Params frozen = Params(*encoder.parameters).trainable(false);
  const Safetensors weights(folder / "model.safetensors");
  encoder.model = std::make_unique<T5Encoder>(frozen.from(weights, embracenet ? "text_encoder." : ""), config);
  return encoder;
}

TextToImage TextToImage::load(const fs::path& folder, Device device) {
  check_input(fs::is_directory(folder), "{}: a model folder was expected but there is none", folder.string());
  const fs::path file = folder / "config.json";
  const nlohmann::json json = read_json_file(file);
  const std::string made_by = ConfigReader(json, file.string()).text("imagen_version", "0.10.0");
  check_input(made_by.starts_with("0.10."),
              "{}: weights of imagen-pytorch {}: from 0.11 on the same names stand for other maths, and only 0.10 is "
              "computed here",
              file.string(), made_by);
  const CascadeConfig config = CascadeConfig::from_json(json, file.string());
  TextToImage t;
  t.parameters = std::make_unique<ParameterSet>(0, DType::f32, device);
  const Safetensors weights(folder / "model.safetensors");
  t.cascade = std::make_unique<Cascade>(Params(*t.parameters).trainable(false).from(weights), config);
  t.parameters->check_all_used();
  if (!fs::exists(folder / "text_encoder")) return t;
  t.encoder = TextEncoder::load(folder / "text_encoder", device);
  t.tokenizer = SentencePiece::load(folder / "spiece.model");
  const T5Config& text = t.encoder->model->config;
  check_input(text.d_model == config.unets[0].text_embed_dim,
              "{}: text_embed_dim must be the width of the text encoder, {}, but is {}", file.string(), text.d_model,
              config.unets[0].text_embed_dim);
  check_input(t.tokenizer->size() <= text.vocab_size && t.tokenizer->eos_id() >= 0,
              "{}: a tokenizer of at most {} pieces with an end of sentence was expected but it has {} pieces",
              (folder / "spiece.model").string(), text.vocab_size, t.tokenizer->size());
  return t;
}

EncodedTexts encode_texts(const SentencePiece& tokenizer, const T5Encoder& encoder, std::span<const std::string> texts,
                          int64_t max_tokens, DType dtype) {
  EncodedTexts result;
  const auto B = static_cast<int64_t>(texts.size());
  std::vector<std::vector<int>> ids;
  int64_t longest = 1;
  for (size_t i = 0; i < texts.size(); ++i) {
    ids.push_back(tokenizer.encode(texts[i]));
    if (ids[i].empty()) {
      result.empty.push_back(i);
      continue;
    }
    if (static_cast<int64_t>(ids[i].size()) >= max_tokens) {
      result.cut.push_back(i);
      ids[i].resize(static_cast<size_t>(max_tokens - 1));
    }
    ids[i].push_back(tokenizer.eos_id());
    longest = std::max(longest, static_cast<int64_t>(ids[i].size()));
  }
  Tensor rows = Tensor::full({B, longest}, std::max(0, tokenizer.pad_id()), DType::i64);
  result.batch.mask = Tensor::zeros({B, longest}, DType::boolean);
  for (int64_t b = 0; b < B; ++b) {
    std::copy(ids[b].begin(), ids[b].end(), rows.data<int64_t>() + b * longest);
    std::fill_n(result.batch.mask.data<bool>() + b * longest, ids[b].size(), true);
  }
  result.batch.embeddings = encoder(rows, result.batch.mask, dtype);
  return result;
}

NoiseSource seeded_noise(std::vector<uint64_t> seeds) {
  std::vector<Random> rows;
  for (const uint64_t seed : seeds) rows.push_back({seed, 0});
  return [rows](const Shape& shape) mutable {
    check(shape[0] == static_cast<int64_t>(rows.size()), "[seeded_noise] there must be {} rows but there are {}",
          rows.size(), shape[0]);
    Tensor noise = Tensor::empty(shape);
    const int64_t elements = shape.product(1, shape.rank());
    for (size_t b = 0; b < rows.size(); ++b) {
      const PhiloxStream stream = rows[b].reserve(elements);
      float* row = noise.data<float>() + static_cast<int64_t>(b) * elements;
#pragma omp parallel for schedule(static)
      for (int64_t i = 0; i < elements; ++i) row[i] = static_cast<float>(stream.normal(i));
    }
    return noise;
  };
}

int64_t sampling_bytes(const TextToImage& model, int64_t rows, bool guided, DType dtype, int64_t unets) {
  const Cascade& cascade = *model.cascade;
  constexpr int64_t program = 72 << 20;  // with its libraries and the code that oneDNN makes, measured
  // Of a weight the f32 of the file or what is kept in its place, in bf16 its packed form beside it, and an eighth for
  // what is in both forms at a time; measured with both UNets of GLAMI-1M.
  int64_t step = 0, weights = 0;
  for (const NamedTensor& t : model.parameters->named_tensors()) {
    for (int64_t i = 0; i < unets; ++i) {
      if (!t.name.starts_with(fmt::format("unets.{}.", i))) continue;
      const int64_t f32 = t.tensor.rank() == 4 ? kept_conv2d_bytes(t.tensor.shape()) : t.tensor.numel() * 4;
      weights += dtype == DType::f32 ? f32 * 9 / 8 : t.tensor.numel() * 25 / 4;
    }
  }
  for (size_t i = 0; i < static_cast<size_t>(unets); ++i) {
    const int64_t pixels = (guided ? 2 : 1) * rows * cascade.config.image_sizes[i] * cascade.config.image_sizes[i];
    // The widest place is the first block of the last way up: its input of two widths, that normed, that through
    // SiLU, and the skips of the levels above; below it every level has a quarter of the pixels. 14 is measured.
    step = std::max(step, pixels * cascade.config.unets[i].dim * 14 * size_of(dtype));
  }
  return program + weights + step;
}

namespace {

// Pixel values v in [0, 1] of one picture.
template <class Value>
Image image_of(const Tensor& pictures, int64_t index, Value&& value) {
  const Tensor there = pictures.to(Device::cpu);
  const int height = static_cast<int>(there.dim(1)), width = static_cast<int>(there.dim(2));
  Image image(height, width);
  const float* p = there.data<float>() + index * there.shape().product(1, 4);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = value(p[i]);
  return image;
}

}  // namespace

Image to_image(const Tensor& pictures, int64_t index, Compat compat) {
  return image_of(pictures, index, [compat](float v) {
    return static_cast<uint8_t>(std::clamp(v * 255 + (compat == Compat::glami ? 0.0f : 0.5f), 0.0f, 255.0f));
  });
}

Image guess_image(const Tensor& x0, int64_t index) {
  return image_of(x0, index, [](float v) { return static_cast<uint8_t>(std::clamp(127.5f * (v + 1), 0.0f, 255.0f)); });
}

std::vector<Image> draw_pictures(const TextToImage& model, std::span<const std::string> texts,
                                 std::span<const uint64_t> seeds, const SamplingOptions& options, int64_t batch,
                                 const SamplingCallback& on_step) {
  check(texts.size() == seeds.size(), "[draw_pictures] there must be a seed for each of the {} texts but there are {}",
        texts.size(), seeds.size());
  const NoGrad no_grad;
  std::vector<Image> pictures;
  for (size_t first = 0; first < texts.size(); first += static_cast<size_t>(batch)) {
    const size_t count = std::min(static_cast<size_t>(batch), texts.size() - first);
    const TextBatch text = encode_texts(*model.tokenizer, *model.encoder->model, texts.subspan(first, count),
                                        model.cascade->config.max_tokens, DType::f32).batch;
    const std::span<const uint64_t> part = seeds.subspan(first, count);
    const NoiseSource noise = seeded_noise({part.begin(), part.end()});
    Tensor result;
    for (size_t i = 0; i < model.cascade->unets.size(); ++i) {
      result = model.cascade->sample(static_cast<int64_t>(i), text, result, options, noise, on_step);
      if (!result.defined()) return pictures;
    }
    for (size_t b = 0; b < count; ++b) {
      pictures.push_back(to_image(result, static_cast<int64_t>(b), options.compat));
    }
  }
  return pictures;
}

}  // namespace weft
