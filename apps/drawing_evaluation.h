// How well a cascade draws what it is told: a classifier's answers to its drawings, beside those to real pictures and to
// noise, and whether one thing in 13 languages becomes one thing.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "apps/classifier.h"
#include "apps/text_to_image.h"

namespace weft {

struct DrawingEvaluationOptions {
  std::string split = "train";  // whose names are drawn: words that the cascade has learnt, or held-out ones
  int64_t items = 300;          // things to draw
  int64_t skip = 0;             // of the shuffled list, those before are left for choosing settings
  int64_t languages = 20;       // things of these that are drawn in every language
  uint64_t seed = 0;            // of the order and of the noise
  int64_t batch = 8;
  SamplingOptions sampling;
  bool quiet = false;
};

struct DrawingScore {
  std::string pictures;  // "drawn", ...
  int64_t items = 0, top1 = 0, top5 = 0;
};

/// One thing, drawn by its name in every language from the same noise.
struct ThingInLanguages {
  std::vector<std::string> texts, categories;  // a drawing's name and the first category seen in it
  std::string category;                        // the one that is named most
  int64_t consistent = 0;                      // drawings of it
};

struct DrawingEvaluation {
  std::vector<DrawingScore> rows;
  std::string majority;  // the most frequent category of what was drawn
  int64_t majority_items = 0;
  std::vector<ThingInLanguages> in_languages;
  std::vector<Image> drawn;         // with
  std::vector<std::string> texts;   // what they should show
  std::vector<Image> language_drawings;  // in the order of in_languages

  nlohmann::json to_json() const;
  std::string to_text() const;
};

/// Draws names from the tables of a GLAMI-1M folder, each in a language of its own in turn, and classifies the drawings
/// by the classifier's image branch alone.
DrawingEvaluation evaluate_drawings(const Classifier& classifier, const TextToImage& cascade,
                                    const std::filesystem::path& data, const DrawingEvaluationOptions& options);

/// weft-evaluate drawings: its options and its run; returns the exit code.
int run_drawing_evaluation(int argc, char** argv);

}  // namespace weft
