#include "apps/generation.h"

#include <fmt/ranges.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "apps/interrupt.h"
#include "apps/picture_grid.h"
#include "apps/progress.h"
#include "data/png_text.h"
#include "kernels/arrange.h"
#include "kernels/cast.h"
#include "nn/config.h"
#include "tensor/atomic_file.h"
#include "tensor/autograd.h"

namespace weft {

namespace {

namespace fs = std::filesystem;

constexpr const char* chunk_keyword = "weft";

// What is not UTF-8 in a text is replaced.
std::string text_of(const GenerationRequest& request) {
  return request.to_json().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void write_png(const fs::path& path, const Image& image, const GenerationRequest& request) {
  const std::vector<uint8_t> png = add_png_text(encode_png(image), chunk_keyword, text_of(request));
  AtomicFile file(path);
  file.write(png.data(), png.size());
  file.commit();
}

// [B, H, W, C] as files have it, [B, C, H, W].
Tensor as_in_files(const Tensor& images) { return permute(cast(images, DType::f32).to(Device::cpu), {0, 3, 1, 2}); }

// Recorded noise, `sample.noise.00`, ... in the order of its use.
NoiseSource recorded_noise(const Safetensors& file) {
  return [file, used = 0](const Shape& shape) mutable {
    const std::string name = fmt::format("sample.noise.{:02}", used++);
    const Safetensors::Entry* entry = file.find(name);
    const Shape wanted{shape[0], shape[3], shape[1], shape[2]};
    check_input(entry, "{}: tensor {} is missing, the next step needs it as f32 {}", file.path(), quote(name), wanted);
    check_input(entry->shape == wanted && entry->dtype == DType::f32, "{}: tensor {} must be f32 {} but is {} {}",
                file.path(), quote(name), wanted, entry->dtype, entry->shape);
    return permute(file.tensor(name), {0, 2, 3, 1});
  };
}

// Recorded texts, `text_embeds` [B, T, D] and `text_mask` [B, T].
TextBatch recorded_texts(const fs::path& path, int64_t width) {
  const Safetensors file(path);
  const TextBatch text{file.tensor("text_embeds"), file.tensor("text_mask")};
  const Shape& s = text.embeddings.shape();
  check_input(s.rank() == 3 && s.numel() > 0 && s[2] == width && is_floating(text.embeddings.dtype()),
              "{}: text_embeds must be [B, T, {}] but is {} {}", file.path(), width, text.embeddings.dtype(), s);
  check_input(text.mask.shape() == Shape{s[0], s[1]} && text.mask.dtype() == DType::boolean,
              "{}: text_mask must be bool [{}, {}] but is {} {}", file.path(), s[0], s[1], text.mask.dtype(),
              text.mask.shape());
  return text;
}

class Generator {
 public:
  Generator(const GenerationRequest& request, const GenerationFiles& files, const CommonOptions& common)
      : r_(request),
        files_(files),
        common_(common),
        model_(TextToImage::load(files.model, device_from_name(common.device))) {
    choose_size();
    prepare_texts();
    choose_options();
  }
  void run();

 private:
  void choose_size();
  void prepare_texts();
  void choose_options();
  bool draw(int64_t first, int64_t count);
  bool on_step(const SamplingProgress& at);
  void write() const;
  void report() const;

  GenerationRequest r_;
  GenerationFiles files_;
  CommonOptions common_;
  TextToImage model_;
  TextBatch texts_;  // one row a text
  SamplingOptions options_;
  int64_t unets_ = 0;  // that take part
  int64_t total_ = 0;  // pictures
  std::vector<Image> pictures_;
  std::vector<NamedTensor> tensors_;  // for a .safetensors
  std::unique_ptr<Progress> progress_;
  int64_t steps_done_ = 0, drawn_ = 0;
  std::chrono::steady_clock::time_point step_began_;
  std::vector<std::vector<double>> seconds_;  // of every UNet's steps
  std::optional<NoiseSource> recorded_;
};

void Generator::choose_size() {
  const std::vector<int64_t>& sizes = model_.cascade->config.image_sizes;
  if (r_.size == 0) r_.size = sizes.back();
  const auto found = std::find(sizes.begin(), sizes.end(), r_.size);
  check_input(found != sizes.end(), "{}: the model draws pictures of {} pixels, not of {}", files_.model.string(),
              fmt::format("{}", fmt::join(sizes, " or ")), r_.size);
  unets_ = found - sizes.begin() + 1;
}

void Generator::prepare_texts() {
  const CascadeConfig& config = model_.cascade->config;
  const NoGrad no_grad;
  if (!files_.embeddings.empty()) {
    texts_ = recorded_texts(files_.embeddings, config.unets[0].text_embed_dim);
    r_.texts.assign(static_cast<size_t>(texts_.embeddings.dim(0)), "");
  } else {
    check_input(model_.encoder.has_value(), "{}: it has no text encoder: --embeddings must be given",
                files_.model.string());
    const EncodedTexts encoded =
        encode_texts(*model_.tokenizer, *model_.encoder->model, r_.texts, config.max_tokens, DType::f32);
    for (const size_t i : encoded.cut) {
      report_line(fmt::format("text {}: cut to the {} tokens that the model reads", i + 1, config.max_tokens));
    }
    for (const size_t i : encoded.empty) {
      report_line(fmt::format("text {}: it is empty, so the picture is drawn without one (unconditional)", i + 1));
    }
    texts_ = encoded.batch;
  }
  total_ = static_cast<int64_t>(r_.texts.size()) * r_.count;
}

void Generator::choose_options() {
  if (r_.compat.empty()) r_.compat = name_of(model_.cascade->config.compat);
  options_.sampler = sampler_from_name(r_.sampler);
  options_.steps = r_.steps;
  options_.guidance = r_.guidance;
  options_.compat = compat_from_name(r_.compat);
  options_.dtype = dtype_from_name(r_.dtype);
  if (!files_.noise.empty()) {
    files_.batch = total_;  // the recorded noise is of all pictures together
    recorded_ = recorded_noise(Safetensors(files_.noise));
  }
  if (files_.out.extension() == ".safetensors") files_.batch = total_;
}

bool Generator::on_step(const SamplingProgress& at) {
  const auto now = std::chrono::steady_clock::now();
  seconds_[static_cast<size_t>(at.unet)].push_back(std::chrono::duration<double>(now - step_began_).count());
  step_began_ = now;
  progress_->update(++steps_done_, fmt::format("{} pixels, step {}/{}", at.x.dim(1), at.step + 1, at.steps));
  if (files_.out.extension() == ".safetensors") {
    tensors_.push_back({fmt::format("sample.x.{:02}", steps_done_ - 1), as_in_files(at.x)});
  }
  if (!files_.preview.empty()) {
    std::vector<Image> guesses;
    for (int64_t b = 0; b < at.x0.dim(0); ++b) guesses.push_back(guess_image(at.x0, b));
    write_png(files_.preview, picture_grid(guesses, static_cast<int>(std::min<int64_t>(r_.count, at.x0.dim(0)))), r_);
  }
  return !interrupted();
}

// Pictures [first, first + count) of all; false if stopped. Picture i is number i % r.count of text i / r.count, and
// the same number has the same noise in every text.
bool Generator::draw(int64_t first, int64_t count) {
  std::vector<int64_t> rows;
  std::vector<uint64_t> seeds;
  for (int64_t i = first; i < first + count; ++i) {
    rows.push_back(i / r_.count);
    seeds.push_back(r_.seed + static_cast<uint64_t>(i % r_.count) * 0x9e3779b97f4a7c15u);
  }
  const Tensor chosen = Tensor::from(rows, {count});
  const TextBatch text{index_select(cast(texts_.embeddings, options_.dtype), chosen),
                       index_select(texts_.mask, chosen)};
  const NoiseSource noise = recorded_ ? *recorded_ : seeded_noise(seeds);
  std::vector<Tensor> results;
  for (int64_t i = 0; i < unets_; ++i) {
    const Tensor before = results.empty() ? Tensor() : results.back();
    step_began_ = std::chrono::steady_clock::now();
    results.push_back(model_.cascade->sample(i, text, before, options_, noise,
                                             [&](const SamplingProgress& at) { return on_step(at); }));
    if (!results.back().defined()) return false;
    if (files_.out.extension() == ".safetensors") {
      tensors_.push_back({fmt::format("sample.out{}", results.back().dim(1)), as_in_files(results.back())});
    }
  }
  for (int64_t b = 0; b < count; ++b) pictures_[first + b] = to_image(results.back(), b, options_.compat);
  drawn_ += count;
  return true;
}

void Generator::write() const {
  if (files_.out.extension() == ".safetensors") {
    return write_safetensors(files_.out, tensors_, {{chunk_keyword, text_of(r_)}});
  }
  if (total_ == 1) return write_png(files_.out, pictures_[0], r_);
  const bool grid = r_.grid || r_.texts.size() > 1;
  if (grid) {
    const bool labelled = r_.texts.size() > 1 && files_.embeddings.empty();
    const int columns = r_.count == 1 ? grid_columns(total_) : static_cast<int>(r_.count);
    return write_png(files_.out, picture_grid(pictures_, columns, labelled ? r_.texts : std::vector<std::string>{}),
                     r_);
  }
  for (int64_t i = 0; i < drawn_; ++i) {
    fs::path numbered = files_.out;
    numbered.replace_filename(
        fmt::format("{}-{}{}", files_.out.stem().string(), i + 1, files_.out.extension().string()));
    write_png(numbered, pictures_[i], r_);
  }
}

// The median is of the steps of all batches, of which the first packs the weights.
void Generator::report() const {
  if (common_.quiet) return;
  for (size_t i = 0; i < seconds_.size(); ++i) {
    std::vector<double> sorted = seconds_[i];
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    fmt::print("{} pixels: {:.3f} s a step of {} (median of {})\n", model_.cascade->config.image_sizes[i], *middle,
               std::min(files_.batch, total_) == 1 ? "1 picture" : fmt::format("{} pictures", std::min(files_.batch, total_)),
               sorted.size());
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  fmt::print("peak memory {} MiB\n", usage.ru_maxrss >> 10);
}

void Generator::run() {
  catch_interrupts();
  const int64_t batch = std::min(files_.batch, total_), steps = r_.steps * unets_ * ((total_ + batch - 1) / batch);
  if (!common_.quiet) {
    fmt::print("{} of {} x {} pixels, {} with {} steps, guidance {}, {} on {}; about {} MiB of memory\n",
               total_ == 1 ? "1 picture" : fmt::format("{} pictures", total_), r_.size, r_.size, r_.sampler, r_.steps,
               r_.guidance, r_.dtype, common_.device,
               sampling_bytes(model_, batch, r_.guidance != 1, options_.dtype, unets_) >> 20);
    std::fflush(stdout);
  }
  pictures_.assign(static_cast<size_t>(total_), Image(static_cast<int>(r_.size), static_cast<int>(r_.size)));
  seconds_.resize(static_cast<size_t>(unets_));
  progress_ = std::make_unique<Progress>("drawing", steps, "steps", common_.quiet);
  bool going = true;
  for (int64_t first = 0; going && first < total_; first += batch) going = draw(first, std::min(batch, total_ - first));
  progress_->finish();
  if (going) {
    write();
    return report();
  }
  const bool kept = drawn_ > 0;
  if (kept) write();
  fail("interrupted at step {} of {}; {}", steps_done_, steps,
       kept ? fmt::format("the {} pictures that are done are in {}", drawn_, files_.out.string())
            : std::string("no picture was done"));
}

}  // namespace

GenerationRequest GenerationRequest::from_json(const nlohmann::json& json, const std::string& file) {
  GenerationRequest r;
  const ConfigReader read(json, file);
  r.texts = read.texts("text");
  check_input(!r.texts.empty() && r.texts.size() <= 10000, "{}: text must be a list of 1 to 10000 texts", file);
  r.count = read.integer("count", 1, 10000);
  r.grid = read.flag("grid");
  check_input(json.contains("seed") && json["seed"].is_number_unsigned(),
              "{}: seed must be a whole number of at most 64 bits", file);
  r.seed = json["seed"].get<uint64_t>();
  r.steps = read.integer("steps", 1, 10000);
  r.sampler = read.choice("sampler", {"dpm++", "ddim", "ddpm"});
  r.guidance = read.number("guidance", 0, 1000);
  r.compat = read.choice("compat", {"fixed", "glami"});
  r.size = read.integer("size", 1, 65536);
  r.dtype = read.choice("dtype", {"f32", "bf16"});
  return r;
}

nlohmann::json GenerationRequest::to_json() const {
  return {{"text", texts},      {"count", count},       {"grid", grid},     {"seed", seed}, {"steps", steps},
          {"sampler", sampler}, {"guidance", guidance}, {"compat", compat}, {"size", size}, {"dtype", dtype}};
}

GenerationRequest read_request(const fs::path& png) {
  const std::vector<uint8_t> bytes = read_file(png, int64_t{1} << 28);
  const std::optional<std::string> text = find_png_text(bytes, chunk_keyword, png.string());
  check_input(text.has_value(), "{}: it holds no parameters: weft-generate did not write it", png.string());
  return GenerationRequest::from_json(parse_json(*text, png.string() + ": parameters"), png.string());
}

void generate(const GenerationRequest& request, const GenerationFiles& files, const CommonOptions& common) {
  // Before minutes of drawing, not after.
  for (const fs::path& file : {files.out, files.preview}) {
    const fs::path folder = file.parent_path();
    check_input(folder.empty() || fs::is_directory(folder), "{}: cannot be written: there is no folder {}",
                file.string(), folder.string());
  }
  Generator(request, files, common).run();
}

}  // namespace weft
