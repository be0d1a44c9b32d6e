#include "apps/cascade_training.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "apps/interrupt.h"
#include "apps/loss_curve.h"
#include "apps/picture_grid.h"
#include "apps/progress.h"
#include "apps/sketch_training.h"
#include "apps/text_to_image.h"
#include "apps/token_table.h"
#include "data/loader.h"
#include "data/resize.h"
#include "kernels/arrange.h"
#include "kernels/cast.h"
#include "nn/checkpoint.h"
#include "nn/config.h"
#include "nn/optimizers.h"
#include "tensor/atomic_file.h"
#include "tensor/autograd.h"

namespace weft {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::minutes checkpoint_interval{5};
constexpr uint64_t sketch_seed = 0xd1b54a32d192ed03u;  // the sketches' draws are their own
constexpr size_t points_to_judge = 8;  // of the loss curve
constexpr int64_t steps_to_judge = 200;
constexpr double zero_loss_share = 0.98;  // of what predicting zeros gives: more is a warning

// Where a training's files are.
struct Files {
  fs::path folder;
  fs::path checkpoint() const { return folder / "checkpoint.safetensors"; }
  fs::path losses() const { return folder / "losses.csv"; }
  fs::path curve() const { return folder / "losses.png"; }
  fs::path sample(int64_t step) const { return folder / "samples" / fmt::format("step_{:06}.png", step); }
};

class CascadeTrainer {
 public:
  CascadeTrainer(const CascadeTrainingOptions& options, const CommonOptions& common);
  void run();

 private:
  LoaderOptions loader_options() const;
  Tensor pictures(const Batch& batch) const;
  TextBatch texts(const std::vector<uint32_t>& items, Random& random);
  void sketch();
  void step_of(int64_t unet, const std::vector<Batch>& batches, int64_t step);
  void add_point(int64_t step);
  void judge(int64_t step);
  std::string curve_title() const;
  Tensor small_pictures(const std::vector<uint32_t>& items) const;
  void draw_samples(int64_t step);
  std::vector<NamedTensor> stored(const ParameterSet& set, const std::string& prefix, bool strip) const;
  std::vector<NamedTensor> unet_tensors() const;
  void save_model();
  void checkpoint(int64_t step, const LoaderState& at) const;
  std::string settings() const;

  CascadeTrainingOptions o_;
  CommonOptions common_;
  DType dtype_;
  Files files_;
  GlamiTable table_;
  SentencePiece tokenizer_;
  TokenTable tokens_;
  ParameterSet parameters_;
  Random random_;
  std::optional<TextEncoder> frozen_;   // the text encoder, if it is not trained along
  std::unique_ptr<T5Encoder> trained_;  // or if it is
  std::unique_ptr<Cascade> cascade_;
  std::vector<int64_t> unets_;  // that are trained
  std::vector<std::unique_ptr<UnetAverage>> averages_;
  std::unique_ptr<UnetAverage> text_average_;
  std::unique_ptr<Adam> optimizer_;
  std::vector<LossPoint> points_, sums_;  // sums_: of each UNet since the last point
  int64_t point_every_;                   // steps that one point of the loss curve averages
  bool warned_ = false;
};

fs::path tokenizer_folder(const CascadeTrainingOptions& o) {
  const bool own = o.text_encoder != "scratch" && fs::exists(fs::path(o.text_encoder) / "spiece.model");
  return own ? fs::path(o.text_encoder) : o.data;
}

// With the sizes of the model to start from.
CascadeTrainingOptions started(CascadeTrainingOptions o) {
  if (o.start.empty()) return o;
  const fs::path file = o.start / "config.json", text = o.start / "text_encoder" / "config.json";
  const Compat compat = o.model.compat;
  o.model = CascadeConfig::from_json(read_json_file(file), file.string());
  o.model.compat = compat;
  if (o.text_encoder == "scratch") o.text = T5Config::from_json(read_json_file(text), text.string());
  return o;
}

CascadeTrainer::CascadeTrainer(const CascadeTrainingOptions& options, const CommonOptions& common)
    : o_(started(options)),
      common_(common),
      dtype_(dtype_from_name(common.dtype)),
      files_{options.out},
      table_(read_glami(o_.data, "train")),
      tokenizer_(SentencePiece::load(tokenizer_folder(o_))),
      tokens_(tokenizer_, table_, o_.model.max_tokens, o_.name_only > 0),
      parameters_(common.seed, DType::f32, device_from_name(common.device)),
      random_{common.seed ^ 0x9e3779b97f4a7c15u},
      point_every_(std::clamp<int64_t>(o_.steps / 40, 1, 25)) {
  const Params p(parameters_);
  const bool starts = !o_.start.empty();
  const auto from = [&](const Params& scope, const fs::path& folder) {
    return starts ? scope.from(Safetensors(folder / "model.safetensors")) : scope;
  };
  if (o_.text_encoder == "scratch") {
    if (!starts) o_.text.vocab_size = tokenizer_.size();
    check_input(tokenizer_.size() <= o_.text.vocab_size,
                "{}: a tokenizer of at most {} pieces was expected but it has {}", (o_.data / "spiece.model").string(),
                o_.text.vocab_size, tokenizer_.size());
    trained_ = std::make_unique<T5Encoder>(from(p / "text_encoder", o_.start / "text_encoder"), o_.text);
  } else {
    frozen_ = TextEncoder::load(o_.text_encoder, parameters_.device());
    check_input(tokenizer_.size() <= frozen_->model->config.vocab_size,
                "{}: a tokenizer of at most {} pieces was expected but it has {}",
                (tokenizer_folder(o_) / "spiece.model").string(), frozen_->model->config.vocab_size, tokenizer_.size());
  }
  for (UnetConfig& u : o_.model.unets) u.text_embed_dim = (trained_ ? *trained_ : *frozen_->model).config.d_model;
  std::vector<bool> built;  // the others take no memory until the model is written
  for (int64_t i = 0; i < static_cast<int64_t>(o_.model.unets.size()); ++i) {
    built.push_back(o_.unet == "both" || o_.unet == std::to_string(i));
    if (built.back()) unets_.push_back(i);
  }
  check(!unets_.empty(), "[cascade] the UNet to train must be both or below {} but is {}", o_.model.unets.size(),
        o_.unet);
  cascade_ = std::make_unique<Cascade>(from(p, o_.start), o_.model, built);
  for (const int64_t i : unets_) {
    const int n = static_cast<int>(i);
    averages_.push_back(std::make_unique<UnetAverage>(p / "ema_unets" / n, parameters_, fmt::format("unets.{}.", i),
                                                      o_.average_decay));
  }
  if (trained_) {
    text_average_ = std::make_unique<UnetAverage>(p / "ema_text", parameters_, "text_encoder.", o_.average_decay);
  }
  optimizer_ = std::make_unique<Adam>(parameters_, AdamOptions{.beta2 = 0.99});
  sums_.resize(o_.model.unets.size());
  check_input(unets_.front() == 0 || o_.sample_texts.empty(),
              "--sample-text: UNet {} alone enlarges pictures of the training data, which have their own texts",
              unets_.front());
  fs::create_directories(o_.out / "samples");
}

LoaderOptions CascadeTrainer::loader_options() const {
  LoaderOptions load;
  load.height = static_cast<int>(o_.model.image_sizes.back());
  load.width = static_cast<int>(o_.picture_width > 0 ? o_.picture_width : o_.model.image_sizes.back());
  load.batch = o_.batch;
  load.shuffle = true;
  load.drop_last = static_cast<int64_t>(table_.size()) >= o_.batch;
  load.seed = common_.seed;
  load.epochs = 0;
  load.threads = 1;
  load.max_broken = o_.max_broken;
  load.on_broken = [](const std::string& error) { report_line("skipped: " + error); };
  return load;
}

// [B, S, S, 3] in [0, 1]; a picture that is not as wide as high stands in the middle of a white square.
Tensor CascadeTrainer::pictures(const Batch& batch) const {
  const int64_t B = batch.image_count, H = batch.height, W = batch.width;
  const Tensor images = Tensor::from(batch.images, {B, H, W, 3}).to(parameters_.device());
  if (W == H) return images;
  const auto white = [&](int64_t width) { return Tensor::full({B, H, width, 3}, 1).to(parameters_.device()); };
  return concat({white((H - W) / 2), images, white(H - W - (H - W) / 2)}, 2);
}

TextBatch CascadeTrainer::texts(const std::vector<uint32_t>& items, Random& random) {
  const TokenizedBatch ids =
      tokens_.batch(tokens_.with_some_names(items, o_.name_only, random), true, o_.token_drop, &random);
  if (trained_) return {(*trained_)(ids.ids, ids.mask, dtype_, &random), ids.mask};
  const NoGrad no_grad;
  const Training frozen(false);
  return {(*frozen_->model)(ids.ids, ids.mask, dtype_), ids.mask};
}

void CascadeTrainer::step_of(int64_t unet, const std::vector<Batch>& batches, int64_t step) {
  const double share = 1.0 / static_cast<double>(batches.size());
  for (const Batch& batch : batches) {
    const auto B = static_cast<int64_t>(batch.items.size());
    const TrainingDraws draws = cascade_->draw(unet, B, random_);
    const Tensor images = pictures(batch);
    const Tensor loss = cascade_->loss(unet, images, texts(batch.items, random_), draws);
    backward(loss, share);
    const double number = loss.item();
    check_input(std::isfinite(number), "the loss of UNet {} is {} at step {}; a lower --lr may help", unet, number,
                step);
    sums_[unet].loss += number * share / static_cast<double>(point_every_);
    sums_[unet].zero_loss += cascade_->zero_loss(unet, images, draws) * share / static_cast<double>(point_every_);
  }
  if (o_.clip > 0) clip_by_global_norm(parameters_, o_.clip);
  optimizer_->step(o_.schedule.at(step));
  parameters_.clear_gradients();
}

// Teaches the first UNet's layout before anything else, where there is one.
void CascadeTrainer::sketch() {
  const bool first = unets_.front() == 0 && o_.model.unets[0].layout_size > 0;
  if (!first || o_.sketch_steps == 0) return;
  const double loss = train_sketch(
      *cascade_, parameters_, table_,
      [&](const std::vector<uint32_t>& items, Random& random) { return texts(items, random); },
      common_.seed ^ sketch_seed,
      {.steps = o_.sketch_steps, .max_broken = o_.max_broken, .quiet = common_.quiet});
  if (!common_.quiet) report_line(fmt::format("sketches: loss {:.3f} after {} steps", loss, o_.sketch_steps));
}

// Ends an average.
void CascadeTrainer::add_point(int64_t step) {
  for (const int64_t i : unets_) {
    points_.push_back({step, i, sums_[i].loss, sums_[i].zero_loss});
    sums_[i] = {};
  }
  judge(step);
}

std::string CascadeTrainer::curve_title() const {
  return unets_.size() == 1 ? fmt::format("loss of UNet {}", unets_[0]) : "losses of the UNets";
}

// Says once if a UNet is no better than predicting zeros.
void CascadeTrainer::judge(int64_t step) {
  if (warned_ || step < steps_to_judge || points_.size() < points_to_judge * unets_.size()) return;
  for (const int64_t unet : unets_) {
    double loss = 0, zeros = 0;
    for (size_t i = points_.size() - points_to_judge * unets_.size(); i < points_.size(); ++i) {
      if (points_[i].unet != unet) continue;
      loss += points_[i].loss / points_to_judge;
      zeros += points_[i].zero_loss / points_to_judge;
    }
    if (loss < zero_loss_share * zeros) continue;
    report_line(
        fmt::format("warning: UNet {} is not learning: at step {} its loss is {:.3f}, and predicting zeros would "
                    "give {:.3f}; a lower --lr or a longer --warm-up may help",
                    unet, step, loss, zeros));
    warned_ = true;
  }
}

// The pictures of some items at the first UNet's size, for a second one that is trained alone.
Tensor CascadeTrainer::small_pictures(const std::vector<uint32_t>& items) const {
  const int64_t S = o_.model.image_sizes[0];
  std::vector<float> pixels;
  for (const uint32_t item : items) {
    const std::vector<float> one =
        resize_bilinear_antialias(read_image(table_.image_path(item)), static_cast<int>(S), static_cast<int>(S));
    pixels.insert(pixels.end(), one.begin(), one.end());
  }
  return Tensor::from(pixels, {static_cast<int64_t>(items.size()), S, S, 3});
}

void CascadeTrainer::draw_samples(int64_t step) {
  const NoGrad no_grad;
  const Training evaluating(false);
  std::vector<std::unique_ptr<UnetAverage::Applied>> applied;
  for (const auto& average : averages_) applied.push_back(std::make_unique<UnetAverage::Applied>(*average));
  if (text_average_) applied.push_back(std::make_unique<UnetAverage::Applied>(*text_average_));
  std::vector<std::string> prompts = o_.sample_texts;
  std::vector<uint32_t> items;
  for (int64_t i = 0; prompts.empty() && i < o_.sample_count; ++i) {
    items.push_back(static_cast<uint32_t>(static_cast<int64_t>(table_.size()) * (2 * i + 1) / (2 * o_.sample_count)));
  }
  for (const uint32_t item : items) prompts.emplace_back(table_.name(item));
  const T5Encoder& encoder = trained_ ? *trained_ : *frozen_->model;
  const TextBatch text = encode_texts(tokenizer_, encoder, prompts, o_.model.max_tokens, dtype_).batch;
  std::vector<uint64_t> seeds(prompts.size());
  std::iota(seeds.begin(), seeds.end(), 1000u);
  SamplingOptions options;
  options.steps = o_.sample_steps;
  options.guidance = o_.sample_guidance;
  options.compat = o_.model.compat;
  options.dtype = dtype_;
  const bool upper_alone = unets_.front() > 0;
  Tensor result = upper_alone ? small_pictures(items) : Tensor();
  const NoiseSource noise = seeded_noise(seeds);
  for (int64_t i = unets_.front(); i <= unets_.back(); ++i) {
    result = cascade_->sample(i, text, result, options, noise, [](const SamplingProgress&) { return !interrupted(); });
    if (!result) return;
  }
  std::vector<Image> images;
  for (size_t i = 0; i < prompts.size(); ++i)
    images.push_back(to_image(result, static_cast<int64_t>(i), options.compat));
  const int columns = static_cast<int>(std::ceil(std::sqrt(static_cast<double>(images.size()))));
  write_image(files_.sample(step), picture_grid(images, columns));
}

// The tensors of a set whose names begin with `prefix`, in the dtype of the model folder.
std::vector<NamedTensor> CascadeTrainer::stored(const ParameterSet& set, const std::string& prefix, bool strip) const {
  const NoGrad no_grad;
  std::vector<NamedTensor> list;
  for (NamedTensor t : set.named_tensors()) {
    if (!t.name.starts_with(prefix)) continue;
    if (strip) t.name = t.name.substr(prefix.size());
    list.push_back({t.name, cast(t.tensor, dtype_from_name(o_.store))});
  }
  return list;
}

// Of all UNets, those that are not trained as they began.
std::vector<NamedTensor> CascadeTrainer::unet_tensors() const {
  std::vector<bool> others;
  for (const auto& unet : cascade_->unets) others.push_back(!unet);
  ParameterSet left(common_.seed);
  const Params p = Params(left).trainable(false);
  const Cascade rest(o_.start.empty() ? p : p.from(Safetensors(o_.start / "model.safetensors")), o_.model, others);
  std::vector<NamedTensor> list = stored(parameters_, "unets.", false);
  for (NamedTensor& t : stored(left, "unets.", false)) list.push_back(std::move(t));
  std::ranges::sort(list, {}, &NamedTensor::name);
  return list;
}

void CascadeTrainer::save_model() {
  std::vector<std::unique_ptr<UnetAverage::Applied>> applied;
  for (const auto& average : averages_) applied.push_back(std::make_unique<UnetAverage::Applied>(*average));
  if (text_average_) applied.push_back(std::make_unique<UnetAverage::Applied>(*text_average_));
  // What makes the folder a model gets its name last, so that a full disk leaves the model that was there.
  const fs::path text = o_.out / "text_encoder";
  fs::create_directories(text);
  const T5Encoder& encoder = trained_ ? *trained_ : *frozen_->model;
  write_safetensors(text / "model.safetensors",
                    trained_ ? stored(parameters_, "text_encoder.", true) : stored(*frozen_->parameters, "", false),
                    {{"format", "pt"}});
  write_json_file(text / "config.json", encoder.config.to_json());
  const std::vector<uint8_t> tokenizer = read_file(tokenizer_folder(o_) / "spiece.model", 1 << 30);
  AtomicFile copy(o_.out / "spiece.model");
  copy.write(tokenizer.data(), tokenizer.size());
  copy.commit();
  write_safetensors(o_.out / "model.safetensors", unet_tensors(), {{"format", "pt"}});
  write_json_file(o_.out / "config.json", o_.model.to_json());
}

// What must be the same when a training is taken up again. The number of steps may grow where the rate is constant.
std::string CascadeTrainer::settings() const {
  const int64_t steps = o_.schedule.kind == Schedule::Kind::constant ? 0 : o_.steps;
  return fmt::format(
      "model {} start {} text {} unet {} width {} items {} seed {} dtype {} steps {} batch {} accumulate {} lr {} "
      "warm-up {} "
      "schedule {} clip {} token-drop {} name-only {} sketch-steps {} average-decay {}",
      o_.model.to_json().dump(), o_.start.string(), trained_ ? trained_->config.to_json().dump() : o_.text_encoder,
      o_.unet, o_.picture_width, table_.size(), common_.seed, common_.dtype, steps, o_.batch, o_.accumulate,
      o_.schedule.peak, o_.warm_up, static_cast<int>(o_.schedule.kind), o_.clip, o_.token_drop, o_.name_only,
      o_.sketch_steps, o_.average_decay);
}

void CascadeTrainer::checkpoint(int64_t step, const LoaderState& at) const {
  TrainingState state{.step = step, .epoch = at.epoch, .batch = at.batch, .random = random_};
  state.notes["settings"] = settings();
  for (size_t i = 0; i < sums_.size(); ++i) {
    state.notes[fmt::format("sums.{}", i)] = fmt::format("{:a} {:a}", sums_[i].loss, sums_[i].zero_loss);
  }
  if (!points_.empty()) save_losses(files_.losses(), points_);
  save_checkpoint(files_.checkpoint(), parameters_, *optimizer_, nullptr, state);
}

void CascadeTrainer::run() {
  catch_interrupts();
  TrainingState state;
  if (o_.resume && !fs::exists(files_.checkpoint())) {
    check_input(!fs::exists(o_.out / "model.safetensors"),
                "{}: does not exist, but a finished model does; without --resume, a new training replaces it",
                files_.checkpoint().string());
    report_line(files_.checkpoint().string() + " does not exist yet: training starts from the beginning");
  } else if (o_.resume) {
    state = load_checkpoint(files_.checkpoint(), parameters_, *optimizer_, nullptr);
    check_input(state.notes["settings"] == settings(), "{}: was made with other settings: '{}', but now they are '{}'",
                files_.checkpoint().string(), state.notes["settings"], settings());
    random_ = state.random;
    points_ = load_losses(files_.losses(), state.step);
    for (size_t i = 0; i < sums_.size(); ++i) {
      std::sscanf(state.notes[fmt::format("sums.{}", i)].c_str(), "%la %la", &sums_[i].loss, &sums_[i].zero_loss);
    }
  }
  Loader loader(table_, loader_options(), {state.epoch, state.batch});
  o_.schedule.steps = o_.steps;
  o_.schedule.warm_up = static_cast<int64_t>(o_.warm_up * static_cast<double>(o_.steps));
  if (!common_.quiet) {
    fmt::print("{} items, {} parameters, {} steps of {} pictures, UNet {}, {} on {}\n", table_.size(),
               parameters_.parameter_count(), o_.steps, o_.batch * o_.accumulate, o_.unet, common_.dtype,
               common_.device);
    std::fflush(stdout);
  }
  if (state.step == 0) sketch();
  const Training training;
  Progress progress("training", o_.steps, "steps", common_.quiet);
  const auto start = std::chrono::steady_clock::now();
  auto saved_at = start;
  for (int64_t step = state.step; step < o_.steps;) {
    std::vector<Batch> batches;
    while (static_cast<int64_t>(batches.size()) < o_.accumulate) batches.push_back(*loader.next());
    for (size_t i = 0; i < unets_.size(); ++i) {
      step_of(unets_[i], batches, step);
      averages_[i]->update();
      if (text_average_) text_average_->update();
    }
    ++step;
    if (step % point_every_ == 0) add_point(step);
    if (!points_.empty()) {
      std::string note = "loss";
      for (size_t i = 0; i < unets_.size(); ++i)
        note += fmt::format(" {:.3f}", points_[points_.size() - unets_.size() + i].loss);
      progress.update(step, note);
    } else {
      progress.update(step);
    }
    if (o_.sample_every > 0 && (step % o_.sample_every == 0 || step == o_.steps)) {
      draw_samples(step);
      if (!points_.empty())
        write_image(files_.curve(), loss_plot(points_, curve_title()));
    }
    const auto now = std::chrono::steady_clock::now();
    if (interrupted() || now - saved_at > checkpoint_interval) {
      checkpoint(step, loader.state());
      saved_at = now;
      check_input(!interrupted(), "interrupted at step {} of {}; --resume goes on from {}", step, o_.steps,
                  files_.checkpoint().string());
    }
  }
  progress.finish();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  if (!common_.quiet) {
    const auto steps = static_cast<double>(o_.steps - state.step);
    fmt::print("{:.0f} steps in {}, {:.3f} s a step, {:.1f} pictures/s, peak memory {} MiB (tensors {} MiB)\n", steps,
               duration_text(seconds), seconds / steps, steps * static_cast<double>(o_.batch * o_.accumulate) / seconds,
               usage.ru_maxrss >> 10, memory_stats(parameters_.device()).peak_bytes >> 20);
  }
  if (!points_.empty()) {
    save_losses(files_.losses(), points_);
    write_image(files_.curve(), loss_plot(points_, curve_title()));
  }
  optimizer_.reset();  // its memory serves what is left to do
  save_model();
  fs::remove(files_.checkpoint());
}

}  // namespace

void train_cascade(const CascadeTrainingOptions& options, const CommonOptions& common) {
  CascadeTrainer(options, common).run();
}

}  // namespace weft
