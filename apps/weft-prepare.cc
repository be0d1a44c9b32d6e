// weft-prepare: makes and describes data sets.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "data/emoji.h"

int main(int argc, char** argv) try {
  CLI::App app{"Makes and describes data sets.\n\nExample: weft-prepare emoji --out data/emoji13"};
  app.require_subcommand(1);
  std::string out;
  bool json = false, quiet = false;
  CLI::App* emoji = app.add_subcommand("emoji", "Writes emoji13, a multilingual image-text data set in GLAMI-1M's format");
  emoji->add_option("--out", out, "The folder to write")->required();
  emoji->add_flag("--json", json, "Prints one JSON object and nothing else");
  emoji->add_flag("--quiet", quiet, "Prints nothing but errors");
  CLI11_PARSE(app, argc, argv);
  weft::EmojiCounts counts = weft::prepare_emoji(out);
  std::printf("%ld emoji, %ld images, %ld + %ld items\n", counts.emoji, counts.images, counts.train_items, counts.test_items);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
