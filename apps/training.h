// weft-train embracenet and weft-train resnext: their options and their run.
#pragma once

#include <CLI/CLI.hpp>

#include <filesystem>
#include <optional>
#include <string>

#include "apps/program.h"
#include "models/embracenet.h"
#include "nn/schedule.h"

namespace weft {

/// How the loss sees the modalities.
enum class LossKind {
  paper,     // all modalities of a row, one drawn for each position
  dropout,   // the same, but in half of the batches every row keeps one modality only (EmbraceNet's modality dropout)
  separate,  // the paper's loss, plus that of the text alone, plus that of the image alone
  text,      // that of the text alone: pretrains a text encoder
};

enum class ClassifierKind {
  embracenet,  // text and image, perhaps the label source
  resnext,     // the image alone: what says something about texts or modalities has no effect
};

struct TrainingOptions {
  ClassifierKind kind = ClassifierKind::embracenet;
  std::filesystem::path data, out;
  std::string text_encoder = "scratch",
              image_encoder = "scratch";  // or a folder with config.json and model.safetensors
  ClassifierConfig model;                 // categories and label sources are filled in from the data
  bool human_labels = false;
  bool use_source = false;  // the third modality; off by default, since it gives emoji13's categories away
  double validation = 0;    // share of the training items held out and evaluated at the end, to choose settings by

  int64_t epochs = 0, batch = 0;
  int items_per_image = 1;
  std::string optimizer;  // adam or adamw
  Schedule schedule;      // peak, kind; warm-up and steps follow from the data
  double warm_up = 0;     // share of all steps
  double weight_decay = 0, clip = 0, ema = 0;  // 0: none
  double label_smoothing = 0, token_drop = 0, name_only = 0;
  int crop_padding = 0;
  bool flip = false;
  LossKind loss = LossKind::paper;
  int64_t max_broken = 100;  // images that cannot be read: reported and skipped up to here
  bool graph = false;        // steps are recorded as a CUDA graph; texts are padded to the most tokens for it
  bool resume = false;

  /// GLAMI-1M's benchmark: mission.md, System 1.
  static TrainingOptions glami();
  /// Everything from scratch on a small data set, in minutes on two cores.
  static TrainingOptions small();
};

/// A subcommand of weft-train, `embracenet` or `resnext`.
class TrainingCommand {
 public:
  /// The arguments are looked through for --recipe, which decides the defaults of the other options.
  TrainingCommand(CLI::App& app, int argc, char** argv, ClassifierKind kind);
  bool chosen() const { return command_->parsed(); }
  void run();

 private:
  template <class Value> CLI::Option* option(const char* names, Value& value, const char* text) {
    return command_->add_option(names, value, text)->capture_default_str();
  }
  void add_data_options();
  void add_step_options();
  void add_text_options();
  void add_image_options();

  CLI::App* command_;
  TrainingOptions o_;
  CommonOptions common_;
  std::string recipe_ = "small", labels_ = "all", pooling_, loss_, size_, schedule_;
};

/// Trains and writes the model folder. Throws on bad input; an interrupt saves a checkpoint and throws.
void train_classifier(const TrainingOptions& options, const CommonOptions& common);

}  // namespace weft
