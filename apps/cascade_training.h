// weft-train cascade: its options and its run.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "apps/program.h"
#include "models/cascade.h"
#include "models/t5_encoder.h"
#include "nn/schedule.h"

namespace weft {

struct CascadeTrainingOptions {
  std::filesystem::path data, out;
  CascadeConfig model;                   // text_embed_dim follows from the text encoder
  std::string text_encoder = "scratch";  // or a folder with a T5 encoder or an EmbraceNet model, which stays frozen
  T5Config text;                         // of an encoder from scratch, trained along
  std::filesystem::path start;           // a model folder whose sizes and weights to begin with; empty: from scratch
  std::string unet = "both";             // both, in turns; 0 or 1: that one alone
  int64_t picture_width = 0;  // pictures are brought to this width and put on a white square; 0: the square's

  int64_t steps = 0, batch = 0, accumulate = 1;
  Schedule schedule;  // peak, kind; steps are the above
  double warm_up = 0, clip = 0, token_drop = 0, name_only = 0;
  double average_decay = 0.9999;  // the most of UnetAverage
  int64_t sketch_steps = 0;  // before the first step, where the first UNet has a layout (apps/sketch_training.h)
  int64_t sample_every = 0, sample_count = 16, sample_steps = 25;
  double sample_guidance = 4;
  std::vector<std::string> sample_texts;  // empty: names of training items
  std::string store = "f32";              // dtype of the weights in the model folder
  int64_t max_broken = 100;
  bool resume = false;

  /// GLAMI-1M's cascade as it was trained: facts of imagen-pytorch 0.10.0, batch 4, Adam at 1e-4.
  static CascadeTrainingOptions glami();
  /// 32 and 128 pixels, small enough for two cores and a few hours.
  static CascadeTrainingOptions small();
};

/// The subcommand `cascade` of weft-train.
class CascadeCommand {
 public:
  /// The arguments are looked through for --preset, which decides the defaults of the other options.
  CascadeCommand(CLI::App& app, int argc, char** argv);
  bool chosen() const { return command_->parsed(); }
  void run();

 private:
  CLI::App* command_;
  CascadeTrainingOptions o_;
  CommonOptions common_;
  std::string preset_, schedule_, compat_, prediction_;
};

/// Trains and writes the model folder. Throws on bad input; an interrupt saves a checkpoint and throws.
void train_cascade(const CascadeTrainingOptions& options, const CommonOptions& common);

}  // namespace weft
