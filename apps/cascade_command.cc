// The presets of weft-train cascade and its options.
#include <string_view>

#include "apps/cascade_training.h"

namespace weft {

CascadeTrainingOptions CascadeTrainingOptions::glami() {
  CascadeTrainingOptions o;
  o.model.compat = Compat::glami;
  o.text_encoder = "";
  o.picture_width = 97;
  o.steps = 500000;
  o.batch = 4;
  o.schedule = {.kind = Schedule::Kind::constant, .peak = 1e-4};
  o.sample_every = 5000;
  o.sample_guidance = 8;
  return o;
}

CascadeTrainingOptions CascadeTrainingOptions::small() {
  CascadeTrainingOptions o;
  UnetConfig base;
  base.dim = 48, base.cond_dim = 64, base.text_embed_dim = 64;
  base.dim_mults = {1, 2, 2};
  base.num_resnet_blocks = {1, 1, 2};
  base.layer_attns = base.layer_cross_attns = {0, 0, 1};
  base.attn_heads = 4, base.attn_dim_head = 32;
  base.max_text_len = 24, base.attn_pool_text = false;
  UnetConfig upper = base;
  upper.dim = 16;
  upper.dim_mults = {1, 2, 4};
  upper.num_resnet_blocks = {1, 1, 1};
  upper.layer_attns = upper.layer_cross_attns = {0, 0, 0};
  upper.lowres_cond = true;
  base.layout_size = 8, base.layout_width = 320, base.layout_blocks = 1;
  o.model.unets = {base, upper};
  o.model.image_sizes = {32, 128};
  o.model.max_tokens = 24;
  o.model.prediction = Prediction::v;
  o.text = {.vocab_size = 30000, .d_model = 64, .d_kv = 32, .num_heads = 2, .d_ff = 128, .num_layers = 1};
  o.steps = 20000;
  o.batch = 32;
  o.schedule = {.kind = Schedule::Kind::cosine, .peak = 1e-3};
  o.warm_up = 0.02;
  o.clip = 1;
  o.token_drop = 0;
  o.name_only = 0.5;
  o.average_decay = 0.98;
  o.sketch_steps = 9000;
  o.sample_every = 1000;
  return o;
}

CascadeCommand::CascadeCommand(CLI::App& app, int argc, char** argv)
    : command_(app.add_subcommand("cascade",
                                  "Text to picture (a cascade of diffusion UNets), on a folder in GLAMI-1M's format")),
      o_(CascadeTrainingOptions::small()),
      preset_("small") {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--preset=glami" ||
        (argument == "--preset" && i + 1 < argc && std::string_view(argv[i + 1]) == "glami")) {
      o_ = CascadeTrainingOptions::glami();
    }
  }
  CLI::App& c = *command_;
  c.footer("Example: weft-train cascade --data data/emoji13 --out models/cascade --dtype bf16");
  const auto option = [&](const char* names, auto& value, const char* text) {
    return c.add_option(names, value, text)->capture_default_str();
  };
  schedule_ = o_.schedule.kind == Schedule::Kind::cosine ? "cosine" : "constant";
  compat_ = name_of(o_.model.compat);
  prediction_ = name_of(o_.model.prediction);
  c.add_option("--data", o_.data, "Folder with GLAMI-1M-train.csv, images/ and spiece.model")->required();
  c.add_option("--out", o_.out, "Model folder to write")->required();
  option("--preset", preset_, "Sizes of the UNets and defaults of the options: small, or glami (GLAMI-1M's)")
      ->check(CLI::IsMember({"small", "glami"}));
  option("--unet", o_.unet, "both in turns, or 0 or 1 alone")->check(CLI::IsMember({"both", "0", "1"}));
  option("--text-encoder", o_.text_encoder,
         "scratch: trained along; or a folder with a T5 encoder or an EmbraceNet model, whose encoder stays frozen")
      ->required(o_.text_encoder.empty());
  c.add_option("--start", o_.start,
               "Model folder whose sizes and weights to begin with. A UNet that is not trained stays as it is; "
               "--text-encoder with the same folder keeps the text encoder as it is, too");
  option("--compat", compat_, "fixed, or glami with the mistakes of the original")
      ->check(CLI::IsMember({"fixed", "glami"}));
  option("--predict", prediction_, "What the UNets predict: noise (the original's), or v (alpha noise - sigma picture)")
      ->check(CLI::IsMember({"noise", "v"}));
  option("--steps", o_.steps, "Optimiser steps of each UNet")->check(CLI::Range(1, 1000000000));
  option("--batch", o_.batch, "Pictures that are computed at a time")->check(CLI::Range(1, 1 << 16));
  option("--accumulate", o_.accumulate, "Such batches for one step")->check(CLI::Range(1, 1 << 16));
  option("--lr", o_.schedule.peak, "Learning rate (peak)")->check(CLI::PositiveNumber);
  option("--schedule", schedule_, "Of the learning rate")->check(CLI::IsMember({"constant", "cosine"}));
  option("--warm-up", o_.warm_up, "Share of all steps in which the learning rate rises")->check(CLI::Range(0.0, 0.9));
  option("--clip", o_.clip, "Largest global norm of the gradient; 0: any")->check(CLI::NonNegativeNumber);
  option("--token-drop", o_.token_drop, "Probability that training leaves out a token")->check(CLI::Range(0.0, 0.9));
  option("--name-only", o_.name_only, "Share of the texts that are an item's name without its description")
      ->check(CLI::Range(0.0, 1.0));
  option("--average-decay", o_.average_decay,
         "Largest decay in ten steps of the average of the weights, which is what the model keeps: 0.98 averages over the "
         "last 500 steps; the original's is 0.9999")
      ->check(CLI::Range(0.0, 1.0));
  option("--sketch-steps", o_.sketch_steps,
         "Steps before the first in which the text alone learns to sketch the picture; 0: none, as with --start")
      ->check(CLI::NonNegativeNumber);
  option("--sample-every", o_.sample_every,
         "Steps between pictures of the state, OUT/samples and OUT/losses.png; 0: none")
      ->check(CLI::NonNegativeNumber);
  option("--sample-count", o_.sample_count, "Pictures in each")->check(CLI::Range(1, 1024));
  option("--sample-steps", o_.sample_steps, "Sampling steps for them (dpm++)")->check(CLI::Range(1, 10000));
  option("--sample-guidance", o_.sample_guidance, "")->check(CLI::Range(0.0, 1000.0));
  c.add_option("--sample-text", o_.sample_texts, "What to draw in them (default: names of training items)");
  option("--store", o_.store, "Number format of the weights in the model folder")
      ->check(CLI::IsMember({"f32", "bf16"}));
  option("--max-broken", o_.max_broken, "Pictures that may be unreadable")->check(CLI::Range(0, 1 << 30));
  c.add_flag("--resume", o_.resume, "Go on from the checkpoint in the model folder, if it has one already");
  common_.add_compute(c);
  common_.add_seed(c);
  common_.add_quiet(c);
}

void CascadeCommand::run() {
  o_.model.prediction = prediction_from_name(prediction_);
  o_.schedule.kind = schedule_ == "cosine" ? Schedule::Kind::cosine : Schedule::Kind::constant;
  o_.model.compat = compat_from_name(compat_);
  if (!o_.start.empty() && command_->count("--sketch-steps") == 0) o_.sketch_steps = 0;
  train_cascade(o_, common_);
}

}  // namespace weft
