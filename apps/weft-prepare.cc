// weft-prepare: makes and describes data sets.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include <memory>

#include "apps/interrupt.h"
#include "apps/program.h"
#include "apps/progress.h"
#include "data/emoji.h"
#include "data/glami.h"
#include "data/plot.h"
#include "data/statistics.h"
#include "tensor/check.h"

namespace weft {
namespace {

void prepare(const std::string& out, EmojiCategories categories, const CommonOptions& common) {
  catch_interrupts();
  std::unique_ptr<Progress> bar;
  std::string stage;
  EmojiCounts counts = prepare_emoji(out, {}, [&](std::string_view name, int64_t done, int64_t total) {
    if (stage != name) {
      bar.reset();  // the line of the stage before ends first
      bar = std::make_unique<Progress>(stage = name, total, "steps", common.quiet || common.json);
    }
    check_input(!interrupted(), "interrupted: nothing was written");
    bar->update(done);
  }, categories);
  bar.reset();
  if (common.json) {
    nlohmann::ordered_json json = {{"folder", out},
                                   {"emoji", counts.emoji},
                                   {"held_out_emoji", counts.held_out_emoji},
                                   {"categories", counts.categories},
                                   {"images", counts.images},
                                   {"train_items", counts.train_items},
                                   {"test_items", counts.test_items}};
    fmt::print("{}\n", json.dump());
  } else if (!common.quiet) {
    fmt::print("{}: {} emoji in 13 languages, {} images, {} categories\n", out, counts.emoji, counts.images,
               counts.categories);
    fmt::print("train {} items; test {} items of {} emoji that train does not have\n", counts.train_items,
               counts.test_items, counts.held_out_emoji);
  }
}

void describe(const std::string& folder, std::string plot, const CommonOptions& common) {
  Statistics statistics = make_statistics(read_glami(folder, "train"), read_glami(folder, "test"));
  if (plot.empty()) plot = (std::filesystem::path(folder) / "long-tail.png").string();
  std::filesystem::path name = std::filesystem::weakly_canonical(folder).filename();
  write_image(plot, long_tail_plot(statistics, name.string() + ": items per category"));
  if (common.json) {
    fmt::print("{}\n", statistics_json(statistics));
    return;
  }
  fmt::print("{}", statistics_text(statistics));
  if (!common.quiet) fmt::print("\nThe long tail is drawn in {}\n", plot);
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  using namespace weft;
  CLI::App app{"Makes and describes data sets in GLAMI-1M's format."};
  app.footer("Example: weft-prepare emoji --out data/emoji13 && weft-prepare stats data/emoji13");
  app.require_subcommand(1);
  CommonOptions common;
  std::string out;
  CLI::App* emoji =
      app.add_subcommand("emoji", "Write emoji13, a small real multilingual data set made from Debian packages");
  emoji->add_option("--out", out, "The folder to write")->required()->type_name("DIR");
  std::string categories = "subgroup";
  emoji->add_option("--categories", categories,
                    "subgroup: of Unicode's list; emoji: every emoji is its own, to pretrain a text encoder")
      ->check(CLI::IsMember({"subgroup", "emoji"}))
      ->capture_default_str();
  common.add_json(*emoji);
  common.add_quiet(*emoji);
  emoji->footer("Example: weft-prepare emoji --out data/emoji13");
  std::string folder, plot;
  CLI::App* stats = app.add_subcommand("stats", "Print the counts of a data set and draw its long tail");
  stats->add_option("folder", folder, "A folder with GLAMI-1M-train.csv and GLAMI-1M-test.csv")
      ->required()
      ->type_name("DIR");
  stats->add_option("--plot", plot, "The picture to write (default: DIR/long-tail.png)")->type_name("FILE.png");
  common.add_json(*stats);
  common.add_quiet(*stats);
  stats->footer("Example: weft-prepare stats data/emoji13 --plot long-tail.png");
  return run_program(argc, argv, app, [&] {
    if (*emoji) prepare(out, categories == "emoji" ? EmojiCategories::emoji : EmojiCategories::subgroup, common);
    if (*stats) describe(folder, plot, common);
  });
}
