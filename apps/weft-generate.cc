// weft-generate: pictures from texts, by a cascade of diffusion models (System 3 of GLAMI-1M).
#include "apps/generation.h"
#include "apps/program.h"
#include "kernels/device/waiting.h"

int main(int argc, char** argv) {
  using namespace weft;
  set_spinning(argv);
  CLI::App app{"Draws pictures of texts."};
  app.footer(
      "Example: weft-generate --model models/cascade --text \"running shoe\" --text \"běžecká bota\" --out shoes.png");

  GenerationRequest r;
  GenerationFiles files;
  CommonOptions common;
  std::filesystem::path from;
  const auto option = [&](const char* names, auto& value, const char* text) {
    return app.add_option(names, value, text)->capture_default_str();
  };
  app.add_option("--model", files.model, "Model folder (weft-train cascade)")->required();
  app.add_option("--text", r.texts, "What to draw; several make a grid with labels. Empty: a picture of no text")
      ->type_size(1)
      ->allow_extra_args(false);
  option("--count", r.count, "Pictures of each text, from different noise")->check(CLI::Range(1, 10000));
  app.add_flag("--grid", r.grid, "All pictures in one file (otherwise OUT-1.png, OUT-2.png, ...)");
  option("--steps", r.steps, "Of sampling, for each UNet")->check(CLI::Range(1, 10000));
  option("--sampler", r.sampler, "dpm++, ddim, or ddpm (the original's, 500 steps)")
      ->check(CLI::IsMember({"dpm++", "ddim", "ddpm"}));
  option("--guidance", r.guidance, "How strongly the text guides; 1: as trained, 0: not at all")
      ->check(CLI::Range(0.0, 1000.0));
  app.add_option("--compat", r.compat, "fixed, or glami with the mistakes of the original (default: the model's own)")
      ->check(CLI::IsMember({"fixed", "glami"}));
  app.add_option("--size", r.size, "Pixels of a side, one of the model's sizes (default: its last)")
      ->check(CLI::Range(1, 65536));
  app.add_option("--out", files.out, "PNG to write, or .safetensors for every step as numbers")
      ->required()
      ->check([](const std::string& name) {
        const std::string ending = std::filesystem::path(name).extension().string();
        return ending == ".png" || ending == ".safetensors" ? std::string()
                                                            : name + ": .png or .safetensors was expected";
      });
  app.add_option("--preview", files.preview, "PNG that shows after every step what is guessed so far");
  app.add_option("--from", from, "A PNG that weft-generate wrote: its parameters, where none are given")
      ->check(CLI::ExistingFile);
  app.add_option("--noise", files.noise, "Recorded noise (sample.noise.00, ... in a .safetensors) in place of a seed")
      ->check(CLI::ExistingFile);
  app.add_option("--embeddings", files.embeddings, "Recorded texts (text_embeds, text_mask) in place of --text")
      ->check(CLI::ExistingFile);
  option("--batch", files.batch, "Pictures drawn at a time")->check(CLI::Range(1, 4096));
  common.add_compute(app);
  common.add_seed(app);
  common.add_quiet(app);

  return run_program(argc, argv, app, [&] {
    if (!from.empty()) {
      const GenerationRequest kept = read_request(from);
      const auto take = [&](const char* name, auto& value, const auto& other) {
        if (app.count(name) == 0) value = other;
      };
      take("--text", r.texts, kept.texts);
      take("--count", r.count, kept.count);
      take("--grid", r.grid, kept.grid);
      take("--seed", common.seed, kept.seed);
      take("--steps", r.steps, kept.steps);
      take("--sampler", r.sampler, kept.sampler);
      take("--guidance", r.guidance, kept.guidance);
      take("--compat", r.compat, kept.compat);
      take("--size", r.size, kept.size);
      take("--dtype", common.dtype, kept.dtype);
    }
    if (r.texts.empty() && files.embeddings.empty()) {
      throw CLI::ValidationError("weft-generate", "--text, --embeddings or --from must be given");
    }
    r.seed = common.seed;
    r.dtype = common.dtype;
    generate(r, files, common);
  });
}
