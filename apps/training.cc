#include "apps/training.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <numeric>

#include "apps/evaluation.h"
#include "apps/interrupt.h"
#include "apps/progress.h"
#include "apps/text_cache.h"
#include "apps/training_step.h"
#include "data/image.h"
#include "data/split.h"
#include "nn/checkpoint.h"
#include "nn/config.h"
#include "nn/model_folder.h"
#include "nn/optimizers.h"
#include "tensor/atomic_file.h"
#include "tensor/autograd.h"

namespace weft {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::minutes checkpoint_interval{5};

// A tower's configuration from a folder of pretrained weights.
template <class Config> Config tower_config(const std::string& folder) {
  const fs::path file = fs::path(folder) / "config.json";
  return Config::from_json(read_json_file(file), file.string());
}

// The parts of one run, in the order in which they depend on each other.
class Trainer {
 public:
  Trainer(const TrainingOptions& options, const CommonOptions& common)
      : o_(options),
        common_(common),
        dtype_(dtype_from_name(common.dtype)),
        table_(read_glami(o_.data, "train", {.human_labels = o_.human_labels, .categories = nullptr})),
        tokenizer_(SentencePiece::load(o_.text_encoder == "scratch" ? o_.data : fs::path(o_.text_encoder))),
        tokens_(tokenizer_, table_, o_.model.max_tokens, o_.name_only > 0),
        parameters_(common.seed, DType::f32, device_from_name(common.device)),
        random_{common.seed ^ 0x9e3779b97f4a7c15u} {
    choose_rows();
    build_model();
  }

  void run();

 private:
  void choose_rows() {
    if (o_.validation > 0) {
      ValidationSplit split = validation_split(table_, o_.validation);
      rows_ = std::move(split.train);
      validation_rows_ = std::move(split.validation);
    } else {
      rows_.resize(table_.size());
      std::iota(rows_.begin(), rows_.end(), 0u);
    }
  }
  void build_model();
  LoaderOptions loader_options() const;
  void save_model();
  void checkpoint(int64_t step, const LoaderState& at) const;
  std::string settings() const;

  TrainingOptions o_;
  CommonOptions common_;
  DType dtype_;
  GlamiTable table_;
  SentencePiece tokenizer_;
  TokenTable tokens_;
  ParameterSet parameters_;
  Random random_;
  std::vector<uint32_t> rows_, validation_rows_;
  std::unique_ptr<EmbraceNetClassifier> model_;
  std::unique_ptr<TextCache> cache_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Ema> ema_;
  std::optional<TrainingStep> step_;
};

void Trainer::build_model() {
  ClassifierConfig& config = o_.model;
  config.categories = table_.categories().names();
  config.label_sources.assign(kLabelSources.begin(), kLabelSources.end());
  std::optional<Safetensors> text_file, image_file;
  if (o_.text_encoder == "scratch") {
    config.text.vocab_size = tokenizer_.size();
  } else {
    check_input(o_.name_only == 0, "--name-only {}: the texts of a frozen text encoder ({}) do not change",
                o_.name_only, o_.text_encoder);
    config.text = tower_config<T5Config>(o_.text_encoder);
    config.text_frozen = true;
    check_input(tokenizer_.size() <= config.text.vocab_size,
                "{}/spiece.model: at most {} pieces (config.json's vocab_size) were expected but there are {}",
                o_.text_encoder, config.text.vocab_size, tokenizer_.size());
    text_file.emplace(fs::path(o_.text_encoder) / "model.safetensors");
  }
  if (o_.image_encoder != "scratch") {
    config.image = tower_config<ResNextConfig>(o_.image_encoder);
    image_file.emplace(fs::path(o_.image_encoder) / "model.safetensors");
  }
  config.image.classes = 0;
  model_ = std::make_unique<EmbraceNetClassifier>(parameters_, config, text_file ? &*text_file : nullptr,
                                                  image_file ? &*image_file : nullptr);
  parameters_.check_all_used({"fc."});
  if (o_.optimizer == "adamw") {
    optimizer_ = std::make_unique<AdamW>(parameters_, AdamOptions{.weight_decay = o_.weight_decay});
  } else {
    optimizer_ = std::make_unique<Adam>(parameters_, AdamOptions{.weight_decay = o_.weight_decay});
  }
  if (o_.ema > 0) ema_ = std::make_unique<Ema>(parameters_, o_.ema, true);
  fs::create_directories(o_.out);
  if (config.text_frozen) {
    const fs::path copy = o_.out / "text_encoder";
    fs::create_directories(copy);
    for (const char* name : {"config.json", "model.safetensors"}) {
      fs::copy_file(fs::path(o_.text_encoder) / name, copy / name, fs::copy_options::overwrite_existing);
    }
    cache_ = std::make_unique<TextCache>(*model_, fs::path(o_.text_encoder) / "model.safetensors", tokens_, table_,
                                         o_.out / "text_features.safetensors", dtype_, common_.quiet);
  }
  step_.emplace(TrainingParts{o_, *model_, parameters_, table_, tokens_, cache_.get(), *optimizer_, ema_.get(), random_,
                              dtype_});
}

LoaderOptions Trainer::loader_options() const {
  LoaderOptions load;
  load.height = static_cast<int>(o_.model.image_height);
  load.width = static_cast<int>(o_.model.image_width);
  load.batch = o_.batch;
  load.items_per_image = o_.items_per_image;
  load.shuffle = true;
  load.drop_last = static_cast<int64_t>(rows_.size()) >= o_.batch;
  load.crop_padding = o_.crop_padding;
  load.flip = o_.flip;
  load.seed = common_.seed;
  load.epochs = o_.epochs;
  load.threads = 1;
  load.max_broken = o_.max_broken;
  load.on_broken = [](const std::string& error) { report_line("skipped: " + error); };
  return load;
}

void Trainer::save_model() {
  // The tokenizer gets its name last, so that a full disk leaves the model that was there.
  const std::vector<uint8_t> tokenizer =
      read_file((o_.text_encoder == "scratch" ? o_.data : fs::path(o_.text_encoder)) / "spiece.model", 1 << 30);
  AtomicFile copy(o_.out / "spiece.model");
  copy.write(tokenizer.data(), tokenizer.size());
  save_model_folder(o_.out, o_.model.to_json(), parameters_);
  copy.commit();
}

// What must be the same when a training is taken up again.
std::string Trainer::settings() const {
  return fmt::format(
      "items {} seed {} dtype {} epochs {} batch {} items-per-image {} optimizer {} lr {} warm-up {} schedule {} "
      "weight-decay {} clip {} ema {} "
      "label-smoothing {} token-drop {} text-dropout {} crop {} flip {} loss {} source {}",
      rows_.size(), common_.seed, common_.dtype, o_.epochs, o_.batch, o_.items_per_image, o_.optimizer,
      o_.schedule.peak, o_.warm_up, static_cast<int>(o_.schedule.kind), o_.weight_decay, o_.clip, o_.ema,
      o_.label_smoothing, o_.token_drop, o_.model.text.dropout_rate, o_.crop_padding, o_.flip,
      static_cast<int>(o_.loss), o_.use_source) +
         (o_.name_only > 0 ? fmt::format(" name-only {}", o_.name_only) : "") + (o_.graph ? " padded texts" : "");
}

void Trainer::checkpoint(int64_t step, const LoaderState& at) const {
  save_checkpoint(
      o_.out / "checkpoint.safetensors", parameters_, *optimizer_, ema_.get(),
      {.step = step, .epoch = at.epoch, .batch = at.batch, .random = random_, .notes = {{"settings", settings()}}});
}

void Trainer::run() {
  catch_interrupts();
  const fs::path saved = o_.out / "checkpoint.safetensors";
  TrainingState state;
  if (o_.resume && !fs::exists(saved)) {
    check_input(!fs::exists(o_.out / "model.safetensors"),
                "{}: does not exist, but a finished model does; without --resume, a new training replaces it",
                saved.string());
    report_line(saved.string() + " does not exist yet: training starts from the beginning");
  } else if (o_.resume) {
    state = load_checkpoint(saved, parameters_, *optimizer_, ema_.get());
    check_input(state.notes["settings"] == settings(), "{}: was made with other settings: '{}', but now they are '{}'",
                saved.string(), state.notes["settings"], settings());
    random_ = state.random;
  }
  Loader loader(table_, rows_, loader_options(), {state.epoch, state.batch});
  const int64_t steps_per_epoch = loader.batches_per_epoch(), steps = steps_per_epoch * o_.epochs;
  o_.schedule.steps = steps;
  o_.schedule.warm_up = static_cast<int64_t>(o_.warm_up * static_cast<double>(steps));
  if (!common_.quiet) {
    fmt::print("{} items, {} categories, {} parameters, {} steps of {} items, {} on {}\n", rows_.size(),
               table_.categories().size(), parameters_.parameter_count(), steps, o_.batch, common_.dtype,
               common_.device);
  }
  const Training training;
  int64_t step = state.step;
  auto saved_at = std::chrono::steady_clock::now();
  for (int64_t epoch = state.epoch; epoch < o_.epochs; ++epoch) {
    Progress progress(fmt::format("epoch {}/{}", epoch + 1, o_.epochs), static_cast<int64_t>(rows_.size()), "items",
                      common_.quiet);
    const auto start = std::chrono::steady_clock::now();
    double summed = 0;
    int64_t items = 0, batches = 0;
    while (loader.state().epoch == epoch) {
      const std::optional<Batch> batch = loader.next();
      if (!batch) break;
      const double number = (*step_)(*batch, step, o_.schedule.at(step));
      ++step;
      ++batches;
      summed += number;
      items += static_cast<int64_t>(batch->items.size());
      progress.update(items, fmt::format("loss {:.3f}", summed / static_cast<double>(batches)));
      const auto now = std::chrono::steady_clock::now();
      if (interrupted() || now - saved_at > checkpoint_interval) {
        checkpoint(step, loader.state());
        saved_at = now;
        check_input(!interrupted(), "interrupted at step {} of {}; --resume goes on from {}", step, steps,
                    saved.string());
      }
    }
    progress.finish();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    if (!common_.quiet) {
      fmt::print("epoch {}: loss {:.4f}, {:.0f} items/s, peak memory {} MiB (tensors {} MiB)\n", epoch + 1,
                 summed / std::max<int64_t>(1, batches), items / seconds, usage.ru_maxrss >> 10,
                 memory_stats(model_->device()).peak_bytes >> 20);
      std::fflush(stdout);
    }
  }
  if (loader.broken() > 0)
    report_line(fmt::format("{} images could not be read: their items were left out", loader.broken()));
  std::optional<Ema::Applied> averaged;
  if (ema_) averaged.emplace(*ema_);
  save_model();
  fs::remove(saved);
  if (!validation_rows_.empty()) {
    const Training evaluating(false);
    EvaluationOptions options;
    options.dtype = dtype_;
    options.sampled = false;
    options.quiet = common_.quiet;
    fmt::print("{}", evaluate(*model_, tokenizer_, table_, validation_rows_, options, &table_, rows_).to_text());
  }
}

}  // namespace

TrainingOptions TrainingOptions::glami() {
  TrainingOptions o;
  o.epochs = 2;
  o.batch = 64;
  o.optimizer = "adam";
  o.schedule = {.kind = Schedule::Kind::constant, .peak = 1e-3};
  o.use_source = true;
  return o;
}

TrainingOptions TrainingOptions::small() {
  TrainingOptions o;
  o.model.text = {.vocab_size = 8000,
                  .d_model = 128,
                  .d_kv = 32,
                  .num_heads = 4,
                  .d_ff = 256,
                  .num_layers = 1,
                  .dropout_rate = 0.1};
  o.model.image = {.layers = {2, 2, 2, 2},
                   .planes = {16, 32, 64, 128},
                   .stem = 16,
                   .groups = 8,
                   .width_per_group = 16,
                   .classes = 0};
  o.model.embracement = 256;
  o.model.image_height = o.model.image_width = 64;
  o.model.pooling = TextPooling::mean;
  o.model.selection[image_modality] = 0.65;
  o.epochs = 9;
  o.batch = 128;
  o.items_per_image = 4;
  o.optimizer = "adamw";
  o.schedule = {.kind = Schedule::Kind::cosine, .peak = 2e-3};
  o.warm_up = 0.1;
  o.weight_decay = 0.1;
  o.clip = 1;
  o.label_smoothing = 0.1;
  o.token_drop = 0.2;
  o.crop_padding = 4;
  o.flip = true;
  o.loss = LossKind::separate;
  return o;
}

void train_embracenet(const TrainingOptions& options, const CommonOptions& common) { Trainer(options, common).run(); }

}  // namespace weft
