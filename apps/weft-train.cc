// weft-train: trains the models. `weft-train embracenet` is System 1 of GLAMI-1M, `weft-train cascade` System 3.
#include <algorithm>
#include <string_view>

#include "apps/cascade_training.h"
#include "apps/program.h"
#include "apps/training.h"
#include "kernels/device/parallel.h"

namespace {

// The recipe decides the defaults that the other options then change, so it is looked up before they are parsed.
weft::TrainingOptions recipe_defaults(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--recipe=glami" ||
        (argument == "--recipe" && i + 1 < argc && std::string_view(argv[i + 1]) == "glami")) {
      return weft::TrainingOptions::glami();
    }
  }
  return weft::TrainingOptions::small();
}

}  // namespace

int main(int argc, char** argv) {
  using namespace weft;
  sleep_while_waiting(argv);
  CLI::App app{"Trains a model."};
  app.footer("Example: weft-train embracenet --data data/emoji13 --out models/emoji13");
  app.require_subcommand(1);
  CLI::App& embracenet =
      *app.add_subcommand("embracenet", "Text and image to category (EmbraceNet), on a folder in GLAMI-1M's format");
  embracenet.footer("Example: weft-train embracenet --data data/emoji13 --out models/emoji13 --dtype bf16");

  TrainingOptions o = recipe_defaults(argc, argv);
  CommonOptions common;
  std::string recipe = "small", labels = "all", pooling = o.model.pooling == TextPooling::mean ? "mean" : "flatten";
  std::string loss = o.loss == LossKind::separate ? "separate" : "paper",
              size = fmt::format("{}x{}", o.model.image_height, o.model.image_width);
  std::string schedule = o.schedule.kind == Schedule::Kind::cosine ? "cosine" : "constant";
  ClassifierConfig& m = o.model;
  const auto option = [&](const char* names, auto& value, const char* text) {
    return embracenet.add_option(names, value, text)->capture_default_str();
  };
  embracenet.add_option("--data", o.data, "Folder with GLAMI-1M-train.csv, images/ and spiece.model")->required();
  embracenet.add_option("--out", o.out, "Model folder to write")->required();
  option("--recipe", recipe, "Defaults of the options below: small (from scratch, minutes) or glami (the paper's)")
      ->check(CLI::IsMember({"small", "glami"}));
  option("--labels", labels, "Training rows: all, or those labelled by people")->check(CLI::IsMember({"all", "human"}));
  option("--text-encoder", o.text_encoder,
         "scratch, or a folder with a T5 encoder, which stays frozen and whose outputs are cached");
  option("--image-encoder", o.image_encoder, "scratch, or a folder with a ResNeXt to start from");
  option("--epochs", o.epochs, "Passes over the data")->check(CLI::Range(1, 1000000));
  option("--batch", o.batch, "Items a step")->check(CLI::Range(2, 1 << 20));
  option("--items-per-image", o.items_per_image,
         "Items of one image that share a batch, so that its features are computed once for them")
      ->check(CLI::Range(1, 1024));
  option("--lr", o.schedule.peak, "Learning rate (peak)")->check(CLI::PositiveNumber);
  option("--schedule", schedule, "Of the learning rate")->check(CLI::IsMember({"constant", "cosine"}));
  option("--warm-up", o.warm_up, "Share of all steps in which the learning rate rises")->check(CLI::Range(0.0, 0.9));
  option("--optimizer", o.optimizer, "Optimiser")->check(CLI::IsMember({"adam", "adamw"}));
  option("--weight-decay", o.weight_decay, "Of matrices")->check(CLI::NonNegativeNumber);
  option("--clip", o.clip, "Largest global norm of the gradient; 0: any")->check(CLI::NonNegativeNumber);
  option("--ema", o.ema, "Decay of a running average of the parameters, which is what is saved; 0: none")
      ->check(CLI::Range(0.0, 0.999999));
  option("--label-smoothing", o.label_smoothing, "Share of the target spread over all categories")
      ->check(CLI::Range(0.0, 0.9));
  option("--token-drop", o.token_drop, "Probability that training leaves out a token")->check(CLI::Range(0.0, 0.9));
  option("--name-only", o.name_only, "Share of the texts that are an item's name without its description")
      ->check(CLI::Range(0.0, 1.0));
  option("--text-dropout", m.text.dropout_rate, "Dropout in the text encoder")->check(CLI::Range(0.0, 0.9));
  option("--crop", o.crop_padding, "White pixels around the image from which a random crop is taken")
      ->check(CLI::Range(0, 1024));
  embracenet.add_flag("--flip,!--no-flip", o.flip, "Mirror half of the images");
  option("--loss", loss,
         "paper; dropout: half of the batches keep one modality a row; separate: plus text alone and image alone; "
         "text: the text alone, which pretrains a text encoder")
      ->check(CLI::IsMember({"paper", "dropout", "separate", "text"}));
  embracenet.add_flag("--source,!--no-source", o.use_source,
                      "Also train on the label source (it gives emoji13's categories away)");
  option("--validation", o.validation,
         "Share of the training items, whole images and texts, to hold out and evaluate at the end")
      ->check(CLI::Range(0.0, 0.9));
  option("--image-size", size, "HEIGHTxWIDTH");
  option("--max-tokens", m.max_tokens, "Tokens of a text")->check(CLI::Range(2, 512));
  option("--text-pooling", pooling, "From token vectors to features")->check(CLI::IsMember({"flatten", "mean"}));
  option("--embracement", m.embracement, "Width of the joint vector")->check(CLI::Range(1, 65536));
  option("--image-selection", m.selection[image_modality],
         "Selection probability of the image at inference, the text's being 1")
      ->check(CLI::PositiveNumber);
  option("--text-width", m.text.d_model, "Of a text encoder from scratch")->check(CLI::Range(1, 65536));
  option("--text-layers", m.text.num_layers, "Blocks; 0: the embeddings alone")->check(CLI::Range(0, 1024));
  option("--text-heads", m.text.num_heads, "")->check(CLI::Range(1, 1024));
  option("--text-head-size", m.text.d_kv, "")->check(CLI::Range(1, 1024));
  option("--text-ff", m.text.d_ff, "")->check(CLI::Range(1, 262144));
  option("--image-layers", m.image.layers, "Blocks of each level of an image encoder from scratch")->delimiter(',');
  option("--image-planes", m.image.planes, "Planes of each level")->delimiter(',');
  option("--image-stem", m.image.stem, "Channels of the first convolution")->check(CLI::Range(1, 65536));
  option("--image-groups", m.image.groups, "Groups of the 3x3 convolutions")->check(CLI::Range(1, 4096));
  option("--image-width-per-group", m.image.width_per_group, "Channels of a group at 64 planes")
      ->check(CLI::Range(1, 4096));
  option("--max-broken", o.max_broken, "Images that may be unreadable")->check(CLI::Range(0, 1 << 30));
  embracenet.add_flag("--graph", o.graph,
                      "Record a step once and start it as a whole, with --device cuda and --items-per-image 1; texts "
                      "are padded to --max-tokens");
  embracenet.add_flag("--resume", o.resume, "Go on from the checkpoint in the model folder, if it has one already");
  common.add_compute(embracenet);
  common.add_seed(embracenet);
  common.add_quiet(embracenet);

  CascadeCommand cascade(app, argc, argv);
  return run_program(argc, argv, app, [&] {
    if (cascade.chosen()) return cascade.run();
    o.human_labels = labels == "human";
    m.pooling = pooling == "mean" ? TextPooling::mean : TextPooling::flatten;
    o.loss = loss == "separate"  ? LossKind::separate
             : loss == "dropout" ? LossKind::dropout
             : loss == "text"    ? LossKind::text
                                 : LossKind::paper;
    o.schedule.kind = schedule == "cosine" ? Schedule::Kind::cosine : Schedule::Kind::constant;
    const int read = std::sscanf(size.c_str(), "%ldx%ld", &m.image_height, &m.image_width);
    if (read != 2 || std::min(m.image_height, m.image_width) < 8 || std::max(m.image_height, m.image_width) > 8192) {
      throw CLI::ValidationError("--image-size",
                                 "HEIGHTxWIDTH, each 8 to 8192, was expected but '" + size + "' was given");
    }
    if (o.graph && (common.device != "cuda" || o.items_per_image != 1)) {
      throw CLI::ValidationError("--graph", "--device cuda and --items-per-image 1 are needed, so that every batch has "
                                            "one shape");
    }
    train_embracenet(o, common);
  });
}
