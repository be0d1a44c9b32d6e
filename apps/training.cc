#include "apps/training.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <numeric>

#include "apps/evaluation.h"
#include "apps/interrupt.h"
#include "apps/progress.h"
#include "apps/training_model.h"
#include "apps/training_step.h"
#include "data/split.h"
#include "nn/checkpoint.h"
#include "nn/optimizers.h"
#include "tensor/autograd.h"

namespace weft {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::minutes checkpoint_interval{5};

// The parts of one run, in the order in which they depend on each other.
class Trainer {
 public:
  Trainer(const TrainingOptions& options, const CommonOptions& common)
      : o_(options),
        common_(common),
        dtype_(dtype_from_name(common.dtype)),
        table_(read_glami(o_.data, "train", {.human_labels = o_.human_labels, .categories = nullptr})),
        model_(TrainingModel::make(o_, common_, table_)),
        parameters_(*model_.classifier.parameters),
        random_{common.seed ^ 0x9e3779b97f4a7c15u} {
    choose_rows();
    prepare();
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
  void prepare();
  LoaderOptions loader_options() const;
  void checkpoint(int64_t step, const LoaderState& at) const;
  std::string settings() const;

  TrainingOptions o_;
  CommonOptions common_;
  DType dtype_;
  GlamiTable table_;
  TrainingModel model_;
  ParameterSet& parameters_;
  Random random_;
  std::vector<uint32_t> rows_, validation_rows_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Ema> ema_;
  std::optional<TrainingStep> step_;
};

void Trainer::prepare() {
  if (o_.optimizer == "adamw") {
    optimizer_ = std::make_unique<AdamW>(parameters_, AdamOptions{.weight_decay = o_.weight_decay});
  } else {
    optimizer_ = std::make_unique<Adam>(parameters_, AdamOptions{.weight_decay = o_.weight_decay});
  }
  if (o_.ema > 0) ema_ = std::make_unique<Ema>(parameters_, o_.ema, true);
  fs::create_directories(o_.out);
  model_.prepare_cache(o_, common_, table_);
  step_.emplace(TrainingParts{o_, model_.classifier, table_, model_.tokens ? &*model_.tokens : nullptr,
                              model_.cache.get(), *optimizer_, ema_.get(), random_, dtype_});
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
         (o_.name_only > 0 ? fmt::format(" name-only {}", o_.name_only) : "") + (o_.graph ? " padded texts" : "") +
         (o_.kind == ClassifierKind::resnext
              ? fmt::format(" resnext image-size {}x{}", o_.model.image_height, o_.model.image_width)
              : "");
}

void Trainer::checkpoint(int64_t step, const LoaderState& at) const {
  save_checkpoint(
      o_.out / "checkpoint.safetensors", parameters_, *optimizer_, ema_.get(),
      {.step = step, .epoch = at.epoch, .batch = at.batch, .random = random_, .notes = {{"settings", settings()}}});
}

void Trainer::run() {
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
                 memory_stats(parameters_.device()).peak_bytes >> 20);
      std::fflush(stdout);
    }
  }
  if (loader.broken() > 0)
    report_line(fmt::format("{} images could not be read: their items were left out", loader.broken()));
  std::optional<Ema::Applied> averaged;
  if (ema_) averaged.emplace(*ema_);
  model_.save(o_);
  fs::remove(saved);
  if (!validation_rows_.empty()) {
    const Training evaluating(false);
    EvaluationOptions options;
    options.dtype = dtype_;
    options.sampled = false;
    if (model_.classifier.resnext) options.modalities = {{false, true, false}};
    options.quiet = common_.quiet;
    fmt::print("{}", evaluate(model_.classifier, table_, validation_rows_, options, &table_, rows_).to_text());
  }
}

}  // namespace

void train_classifier(const TrainingOptions& options, const CommonOptions& common) {
  catch_interrupts();  // before the model, whose frozen text encoder may work for hours
  Trainer(options, common).run();
}

}  // namespace weft
