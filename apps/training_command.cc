// The recipes of weft-train embracenet and weft-train resnext, and their options.
#include <algorithm>
#include <cstdio>
#include <string_view>

#include "apps/training.h"

namespace weft {

namespace {

TrainingOptions recipe_defaults(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--recipe=glami" ||
        (argument == "--recipe" && i + 1 < argc && std::string_view(argv[i + 1]) == "glami")) {
      return TrainingOptions::glami();
    }
  }
  return TrainingOptions::small();
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

TrainingCommand::TrainingCommand(CLI::App& app, int argc, char** argv, ClassifierKind kind)
    : o_(recipe_defaults(argc, argv)) {
  o_.kind = kind;
  pooling_ = o_.model.pooling == TextPooling::mean ? "mean" : "flatten";
  loss_ = o_.loss == LossKind::separate ? "separate" : "paper";
  size_ = fmt::format("{}x{}", o_.model.image_height, o_.model.image_width);
  schedule_ = o_.schedule.kind == Schedule::Kind::cosine ? "cosine" : "constant";
  const bool joint = kind == ClassifierKind::embracenet;
  if (joint) {
    command_ =
        app.add_subcommand("embracenet", "Text and image to category (EmbraceNet), on a folder in GLAMI-1M's format");
    command_->footer("Example: weft-train embracenet --data data/emoji13 --out models/emoji13 --dtype bf16");
  } else {
    command_ = app.add_subcommand("resnext", "Image to category (ResNeXt), on a folder in GLAMI-1M's format");
    command_->footer("Example: weft-train resnext --data data/emoji13 --out models/emoji13-images --dtype bf16");
  }
  add_data_options();
  add_step_options();
  if (joint) add_text_options();
  add_image_options();
  common_.add_compute(*command_);
  common_.add_seed(*command_);
  common_.add_quiet(*command_);
}

void TrainingCommand::add_data_options() {
  const bool joint = o_.kind == ClassifierKind::embracenet;
  command_
      ->add_option("--data", o_.data,
                   joint ? "Folder with GLAMI-1M-train.csv, images/ and spiece.model"
                         : "Folder with GLAMI-1M-train.csv and images/")
      ->required();
  command_->add_option("--out", o_.out, "Model folder to write")->required();
  option("--recipe", recipe_, "Defaults of the options below: small (from scratch, minutes) or glami (the paper's)")
      ->check(CLI::IsMember({"small", "glami"}));
  option("--labels", labels_, "Training rows: all, or those labelled by people")
      ->check(CLI::IsMember({"all", "human"}));
  option("--validation", o_.validation,
         "Share of the training items, whole images and texts, to hold out and evaluate at the end")
      ->check(CLI::Range(0.0, 0.9));
  option("--max-broken", o_.max_broken, "Images that may be unreadable")->check(CLI::Range(0, 1 << 30));
  command_->add_flag("--resume", o_.resume, "Go on from the checkpoint in the model folder, if it has one already");
}

void TrainingCommand::add_step_options() {
  option("--epochs", o_.epochs, "Passes over the data")->check(CLI::Range(1, 1000000));
  option("--batch", o_.batch, "Items a step")->check(CLI::Range(2, 1 << 20));
  option("--items-per-image", o_.items_per_image,
         "Items of one image that share a batch, so that its features are computed once for them")
      ->check(CLI::Range(1, 1024));
  option("--lr", o_.schedule.peak, "Learning rate (peak)")->check(CLI::PositiveNumber);
  option("--schedule", schedule_, "Of the learning rate")->check(CLI::IsMember({"constant", "cosine"}));
  option("--warm-up", o_.warm_up, "Share of all steps in which the learning rate rises")->check(CLI::Range(0.0, 0.9));
  option("--optimizer", o_.optimizer, "Optimiser")->check(CLI::IsMember({"adam", "adamw"}));
  option("--weight-decay", o_.weight_decay, "Of matrices")->check(CLI::NonNegativeNumber);
  option("--clip", o_.clip, "Largest global norm of the gradient; 0: any")->check(CLI::NonNegativeNumber);
  option("--ema", o_.ema, "Decay of a running average of the parameters, which is what is saved; 0: none")
      ->check(CLI::Range(0.0, 0.999999));
  option("--label-smoothing", o_.label_smoothing, "Share of the target spread over all categories")
      ->check(CLI::Range(0.0, 0.9));
  command_->add_flag("--graph", o_.graph,
                     o_.kind == ClassifierKind::embracenet
                         ? "Record a step once and start it as a whole, with --device cuda and --items-per-image 1; "
                           "texts are padded to --max-tokens"
                         : "Record a step once and start it as a whole, with --device cuda and --items-per-image 1");
}

void TrainingCommand::add_text_options() {
  ClassifierConfig& m = o_.model;
  option("--text-encoder", o_.text_encoder,
         "scratch, or a folder with a T5 encoder, which stays frozen and whose outputs are cached");
  option("--loss", loss_,
         "paper; dropout: half of the batches keep one modality a row; separate: plus text alone and image alone; "
         "text: the text alone, which pretrains a text encoder")
      ->check(CLI::IsMember({"paper", "dropout", "separate", "text"}));
  command_->add_flag("--source,!--no-source", o_.use_source,
                     "Also train on the label source (it gives emoji13's categories away)");
  option("--token-drop", o_.token_drop, "Probability that training leaves out a token")->check(CLI::Range(0.0, 0.9));
  option("--name-only", o_.name_only, "Share of the texts that are an item's name without its description")
      ->check(CLI::Range(0.0, 1.0));
  option("--text-dropout", m.text.dropout_rate, "Dropout in the text encoder")->check(CLI::Range(0.0, 0.9));
  option("--max-tokens", m.max_tokens, "Tokens of a text")->check(CLI::Range(2, 512));
  option("--text-pooling", pooling_, "From token vectors to features")->check(CLI::IsMember({"flatten", "mean"}));
  option("--embracement", m.embracement, "Width of the joint vector")->check(CLI::Range(1, 65536));
  option("--image-selection", m.selection[image_modality],
         "Selection probability of the image at inference, the text's being 1")
      ->check(CLI::PositiveNumber);
  option("--text-width", m.text.d_model, "Of a text encoder from scratch")->check(CLI::Range(1, 65536));
  option("--text-layers", m.text.num_layers, "Blocks; 0: the embeddings alone")->check(CLI::Range(0, 1024));
  option("--text-heads", m.text.num_heads, "")->check(CLI::Range(1, 1024));
  option("--text-head-size", m.text.d_kv, "")->check(CLI::Range(1, 1024));
  option("--text-ff", m.text.d_ff, "")->check(CLI::Range(1, 262144));
}

void TrainingCommand::add_image_options() {
  ResNextConfig& image = o_.model.image;
  option("--image-encoder", o_.image_encoder, "scratch, or a folder with a ResNeXt to start from");
  option("--image-size", size_, "HEIGHTxWIDTH");
  option("--crop", o_.crop_padding, "White pixels around the image from which a random crop is taken")
      ->check(CLI::Range(0, 1024));
  command_->add_flag("--flip,!--no-flip", o_.flip, "Mirror half of the images");
  option("--image-layers", image.layers, "Blocks of each level of an image encoder from scratch")->delimiter(',');
  option("--image-planes", image.planes, "Planes of each level")->delimiter(',');
  option("--image-stem", image.stem, "Channels of the first convolution")->check(CLI::Range(1, 65536));
  option("--image-groups", image.groups, "Groups of the 3x3 convolutions")->check(CLI::Range(1, 4096));
  option("--image-width-per-group", image.width_per_group, "Channels of a group at 64 planes")
      ->check(CLI::Range(1, 4096));
}

void TrainingCommand::run() {
  ClassifierConfig& m = o_.model;
  o_.human_labels = labels_ == "human";
  m.pooling = pooling_ == "mean" ? TextPooling::mean : TextPooling::flatten;
  o_.loss = loss_ == "separate"  ? LossKind::separate
            : loss_ == "dropout" ? LossKind::dropout
            : loss_ == "text"    ? LossKind::text
                                 : LossKind::paper;
  o_.schedule.kind = schedule_ == "cosine" ? Schedule::Kind::cosine : Schedule::Kind::constant;
  const int read = std::sscanf(size_.c_str(), "%ldx%ld", &m.image_height, &m.image_width);
  if (read != 2 || std::min(m.image_height, m.image_width) < 8 || std::max(m.image_height, m.image_width) > 8192) {
    throw CLI::ValidationError("--image-size",
                               "HEIGHTxWIDTH, each 8 to 8192, was expected but '" + size_ + "' was given");
  }
  if (o_.graph && (common_.device != "cuda" || o_.items_per_image != 1)) {
    throw CLI::ValidationError("--graph", "--device cuda and --items-per-image 1 are needed, so that every batch has "
                                          "one shape");
  }
  train_classifier(o_, common_);
}

}  // namespace weft
