#include "apps/drawing_evaluation.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "apps/interrupt.h"
#include "apps/picture_grid.h"
#include "apps/program.h"
#include "apps/progress.h"
#include "data/hash.h"
#include "data/resize.h"
#include "kernels/reduce.h"
#include "nn/config.h"
#include "tensor/autograd.h"

namespace weft {

namespace {

namespace fs = std::filesystem;

constexpr int64_t shown = 5;  // categories of an answer

// What has one name in every language: the rows of one picture of it.
struct Thing {
  std::vector<uint32_t> rows;
  uint64_t order = 0;
};

// The things of a table in an order that depends on their names and the seed alone. Two drawings of one emoji are one
// thing.
std::vector<Thing> things_of(const GlamiTable& table, uint64_t seed) {
  std::map<int64_t, std::vector<uint32_t>> by_image;
  for (uint32_t row = 0; row < table.size(); ++row) by_image[table[row].image_id].push_back(row);
  std::vector<Thing> things;
  std::set<std::string> seen;
  for (const auto& [image, rows] : by_image) {
    std::string names;
    for (const uint32_t row : rows) names.append(table.text(row)).append("\n");
    if (seen.insert(names).second) things.push_back({rows, mix64(hash_text(names) ^ mix64(seed))});
  }
  std::ranges::sort(things, {}, &Thing::order);
  return things;
}

// The first categories of pictures by their looks, `shown` each.
std::vector<std::vector<int>> answers(const Classifier& classifier, const std::vector<Image>& pictures) {
  const int64_t h = classifier.image_height(), w = classifier.image_width(), part = 64;
  std::vector<std::vector<int>> result;
  for (size_t first = 0; first < pictures.size(); first += part) {
    const auto count = std::min<int64_t>(part, static_cast<int64_t>(pictures.size() - first));
    std::vector<float> pixels;
    for (int64_t i = 0; i < count; ++i) {
      const std::vector<float> one =
          resize_bilinear_antialias(pictures[first + i], static_cast<int>(h), static_cast<int>(w));
      pixels.insert(pixels.end(), one.begin(), one.end());
    }
    Tensors docked(modality_count);
    docked[image_modality] = classifier.dock_images(image_tensor(pixels, count, h, w, DType::f32, classifier.device()));
    const Tensor logits = classifier.logits(classifier.join(docked), {false, true, false}, nullptr);
    const int64_t k = std::min(shown, logits.dim(1));
    const Tensor best = topk(logits, k).indices.to(Device::cpu);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t* ids = best.data<int64_t>() + i * k;
      result.emplace_back(ids, ids + k);
    }
  }
  return result;
}

DrawingScore score(const std::string& name, const std::vector<std::vector<int>>& answers,
                   const std::vector<int>& categories) {
  DrawingScore s{name, static_cast<int64_t>(answers.size())};
  for (size_t i = 0; i < answers.size(); ++i) {
    s.top1 += answers[i][0] == categories[i];
    s.top5 += std::ranges::find(answers[i], categories[i]) != answers[i].end();
  }
  return s;
}

class DrawingEvaluator {
 public:
  DrawingEvaluator(const Classifier& classifier, const TextToImage& cascade, const fs::path& data,
                   const DrawingEvaluationOptions& options)
      : classifier_(classifier),
        cascade_(cascade),
        data_(data),
        o_(options),
        categories_(classifier.categories()),
        table_(read_glami(data, options.split, {.categories = &categories_})) {
    check_input(cascade.encoder.has_value(), "the cascade has no text encoder");
    std::vector<Thing> things = things_of(table_, o_.seed);
    check_input(o_.skip + o_.items <= static_cast<int64_t>(things.size()),
                "{}: {} different things were expected, to leave {} and draw {}, but there are {}",
                table_.file().string(), o_.skip + o_.items, o_.skip, o_.items, things.size());
    things_.assign(things.begin() + o_.skip, things.begin() + o_.skip + o_.items);
  }

  DrawingEvaluation run() {
    const NoGrad no_grad;
    DrawingEvaluation e;
    draw_things(e);
    compare(e);
    draw_languages(e);
    return e;
  }

 private:
  std::vector<Image> draw(const std::string& title, const std::vector<std::string>& texts,
                          const std::vector<uint64_t>& seeds) const {
    const auto parts = (static_cast<int64_t>(texts.size()) + o_.batch - 1) / o_.batch;
    Progress progress(title, parts * o_.sampling.steps * static_cast<int64_t>(cascade_.cascade->unets.size()), "steps",
                      o_.quiet);
    int64_t done = 0;
    std::vector<Image> pictures = draw_pictures(cascade_, texts, seeds, o_.sampling, o_.batch, [&](const auto&) {
      progress.update(++done);
      return !interrupted();
    });
    check_input(!interrupted(), "interrupted while drawing");
    return pictures;
  }

  void draw_things(DrawingEvaluation& e) {
    std::vector<uint64_t> seeds;
    for (size_t i = 0; i < things_.size(); ++i) {
      const uint32_t row = things_[i].rows[i % things_[i].rows.size()];
      labels_.push_back(table_[row].category);
      e.texts.emplace_back(table_.name(row));
      seeds.push_back(mix64(o_.seed + i));
    }
    e.drawn = draw("drawing", e.texts, seeds);
    e.rows.push_back(score("drawn", answers(classifier_, e.drawn), labels_));
    std::map<int, int64_t> frequency;
    for (const int label : labels_) ++frequency[label];
    const auto top = std::ranges::max_element(frequency, {}, [](const auto& entry) { return entry.second; });
    e.majority = categories_.name(top->first);
    e.majority_items = top->second;
  }

  // Real pictures of the same things, real pictures that the classifier has not seen, and noise.
  void compare(DrawingEvaluation& e) const {
    std::vector<Image> same, held_out, noise;
    std::vector<int> held_out_labels;
    const auto [height, width] = std::pair(e.drawn[0].height, e.drawn[0].width);
    for (size_t i = 0; i < things_.size(); ++i) {
      same.push_back(read_image(table_.image_path(things_[i].rows[0])));
      const Tensor normal = seeded_noise({mix64(o_.seed + i)})({1, height, width, 3});
      noise.push_back(guess_image(normal, 0));
    }
    e.rows.push_back(score("real, same things", answers(classifier_, same), labels_));
    const GlamiTable test = read_glami(data_, "test", {.categories = &categories_});
    std::set<int64_t> seen;
    for (uint32_t row = 0; row < test.size(); ++row) {
      if (!seen.insert(test[row].image_id).second) continue;
      held_out.push_back(read_image(test.image_path(row)));
      held_out_labels.push_back(test[row].category);
    }
    e.rows.push_back(score("real, held out", answers(classifier_, held_out), held_out_labels));
    e.rows.push_back(score("noise", answers(classifier_, noise), labels_));
  }

  // The first things once more in every language, each from the same noise.
  void draw_languages(DrawingEvaluation& e) const {
    const int64_t count = std::min<int64_t>(o_.languages, static_cast<int64_t>(things_.size()));
    if (count == 0) return;
    std::vector<std::string> texts;
    std::vector<uint64_t> seeds;
    for (int64_t i = 0; i < count; ++i) {
      for (const uint32_t row : things_[i].rows) {
        texts.emplace_back(table_.name(row));
        seeds.push_back(mix64(o_.seed + static_cast<uint64_t>(i)));
      }
    }
    e.language_drawings = draw("languages", texts, seeds);
    const std::vector<std::vector<int>> found = answers(classifier_, e.language_drawings);
    size_t at = 0;
    for (int64_t i = 0; i < count; ++i) {
      ThingInLanguages thing;
      std::map<int, int64_t> frequency;
      for (size_t k = 0; k < things_[i].rows.size(); ++k, ++at) {
        ++frequency[found[at][0]];
        thing.texts.push_back(texts[at]);
        thing.categories.push_back(categories_.name(found[at][0]));
      }
      const auto top = std::ranges::max_element(frequency, {}, [](const auto& entry) { return entry.second; });
      thing.category = categories_.name(top->first);
      thing.consistent = top->second;
      e.in_languages.push_back(std::move(thing));
    }
  }

  const Classifier& classifier_;
  const TextToImage& cascade_;
  fs::path data_;
  DrawingEvaluationOptions o_;
  CategoryIndex categories_;
  GlamiTable table_;
  std::vector<Thing> things_;
  std::vector<int> labels_;  // of things_
};

}  // namespace

nlohmann::json DrawingEvaluation::to_json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const DrawingScore& row : rows) {
    const auto n = static_cast<double>(row.items);
    list.push_back({{"pictures", row.pictures},
                    {"items", row.items},
                    {"top1", static_cast<double>(row.top1) / n},
                    {"top5", static_cast<double>(row.top5) / n}});
  }
  nlohmann::json things = nlohmann::json::array();
  for (const ThingInLanguages& thing : in_languages) {
    things.push_back({{"texts", thing.texts},
                      {"categories", thing.categories},
                      {"category", thing.category},
                      {"consistent", thing.consistent}});
  }
  return {{"rows", list},
          {"majority", majority},
          {"majority_top1", static_cast<double>(majority_items) / static_cast<double>(texts.size())},
          {"in_languages", things}};
}

std::string DrawingEvaluation::to_text() const {
  std::string text = fmt::format("{:<18} {:>7} {:>7} {:>7}\n", "pictures", "items", "top-1", "top-5");
  for (const DrawingScore& row : rows) {
    const auto n = static_cast<double>(row.items);
    text += fmt::format("{:<18} {:>7} {:>7.3f} {:>7.3f}\n", row.pictures, row.items, static_cast<double>(row.top1) / n,
                        static_cast<double>(row.top5) / n);
  }
  text += fmt::format("{:<18} {:>7} {:>7.3f}   always '{}'\n", "majority", texts.size(),
                      static_cast<double>(majority_items) / static_cast<double>(texts.size()), majority);
  if (in_languages.empty()) return text;
  int64_t consistent = 0, drawings = 0;
  text += fmt::format("\n{:>8} {:>6}   a thing: the category that most of its drawings are in, and those of the others\n",
                      "drawings", "agree");
  for (const ThingInLanguages& thing : in_languages) {
    consistent += thing.consistent;
    drawings += static_cast<int64_t>(thing.texts.size());
    std::map<std::string, int> others;
    for (const std::string& category : thing.categories) others[category] += category != thing.category;
    std::string list = thing.category;
    for (const auto& [category, count] : others) {
      if (count > 0) list += fmt::format(", {} {}", category, count);
    }
    text += fmt::format("{:>8} {:>6}   {}: {}\n", thing.texts.size(), thing.consistent, thing.texts[0], list);
  }
  text += fmt::format("{:>8} {:>6}   {} things in every language: {:.3f} of the drawings agree\n", drawings, consistent,
                      in_languages.size(), static_cast<double>(consistent) / static_cast<double>(drawings));
  return text;
}

DrawingEvaluation evaluate_drawings(const Classifier& classifier, const TextToImage& cascade, const fs::path& data,
                                    const DrawingEvaluationOptions& options) {
  return DrawingEvaluator(classifier, cascade, data, options).run();
}

// A thing a row; what lacks a name in a language leaves its row shorter.
static Image grid_of_languages(const DrawingEvaluation& e) {
  size_t columns = 1;
  for (const ThingInLanguages& thing : e.in_languages) columns = std::max(columns, thing.texts.size());
  std::vector<Image> pictures;
  std::vector<std::string> labels;
  auto drawing = e.language_drawings.begin();
  for (const ThingInLanguages& thing : e.in_languages) {
    for (size_t k = 0; k < columns; ++k) {
      const bool there = k < thing.texts.size();
      labels.push_back(there ? thing.texts[k] : "");
      pictures.push_back(there ? *drawing++ : Image{});
    }
  }
  return picture_grid(pictures, static_cast<int>(columns), labels);
}

int run_drawing_evaluation(int argc, char** argv) {
  CLI::App app{"Measures a text-to-image cascade: draws names of a data set and lets a classifier say what it sees."};
  app.name("weft-evaluate drawings");
  app.footer("Example: weft-evaluate drawings --model weights/cascade --classifier models/emoji13 --data data/emoji13");
  DrawingEvaluationOptions o;
  CommonOptions common;
  fs::path model, classifier_folder, data, json_file, grid, language_grid;
  std::string sampler = "dpm++";
  o.sampling.steps = 20;
  o.sampling.guidance = 4;
  const auto option = [&](const char* names, auto& value, const char* text) {
    return app.add_option(names, value, text)->capture_default_str();
  };
  app.add_option("--model", model, "Cascade (weft-train cascade)")->required();
  app.add_option("--classifier", classifier_folder, "Classifier (weft-train embracenet or resnext), whose image branch answers")
      ->required();
  app.add_option("--data", data, "Data folder")->required();
  option("--split", o.split, "Whose names are drawn: train, which the cascade has learnt, or test")
      ->check(CLI::IsMember({"train", "test"}));
  option("--items", o.items, "Things to draw, each in one language")->check(CLI::Range(1, 1000000));
  option("--skip", o.skip, "Things to leave out first, by which settings were chosen")->check(CLI::Range(0, 1000000));
  option("--languages", o.languages, "Of the things, how many to draw in every language, too")
      ->check(CLI::Range(0, 1000000));
  option("--sampler", sampler, "dpm++, ddim or ddpm")->check(CLI::IsMember({"dpm++", "ddim", "ddpm"}));
  option("--steps", o.sampling.steps, "Of sampling, for each UNet")->check(CLI::Range(1, 10000));
  option("--guidance", o.sampling.guidance, "How strongly the text guides")->check(CLI::Range(0.0, 1000.0));
  option("--batch", o.batch, "Pictures drawn at a time")->check(CLI::Range(1, 4096));
  app.add_option("--grid", grid, "PNG to write with the first 60 drawings");
  app.add_option("--language-grid", language_grid, "PNG to write with the drawings in every language, a thing a row");
  app.add_option("--json", json_file, "Also write the figures to this file");
  common.add_compute(app);
  common.add_seed(app);
  common.add_quiet(app);
  return run_program(argc, argv, app, [&] {
    catch_interrupts();
    check_input(language_grid.empty() || o.languages > 0, "--language-grid needs --languages of 1 or more");
    const Device device = device_from_name(common.device);
    const Classifier classifier = Classifier::load(classifier_folder, device);
    const TextToImage cascade = TextToImage::load(model, device);
    o.seed = common.seed;
    o.quiet = common.quiet;
    o.sampling.sampler = sampler_from_name(sampler);
    o.sampling.compat = cascade.cascade->config.compat;
    o.sampling.dtype = dtype_from_name(common.dtype);
    const DrawingEvaluation result = evaluate_drawings(classifier, cascade, data, o);
    fmt::print("{}", result.to_text());
    if (!json_file.empty()) write_json_file(json_file, result.to_json());
    if (!grid.empty()) {
      const auto count = std::min<std::ptrdiff_t>(60, std::ssize(result.drawn));
      write_image(grid, picture_grid({result.drawn.begin(), result.drawn.begin() + count}, 10,
                                     {result.texts.begin(), result.texts.begin() + count}));
    }
    if (!language_grid.empty()) write_image(language_grid, grid_of_languages(result));
  });
}

}  // namespace weft
