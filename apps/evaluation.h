// Accuracy of a classifier on a split: the table of mission.md's System 1, overall and for each language.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <map>
#include <string>
#include <vector>

#include "apps/classifier.h"

namespace weft {

struct EvaluationOptions {
  std::vector<Modalities> modalities{{true, true, false}, {false, true, false}, {true, false, false}};
  bool sampled = true;  // also rows with one drawn modality a position, as the reference code does at inference with
                        // an EmbraceNet
  uint64_t seed = 0;    // of that draw
  DType dtype = DType::f32;
  int64_t max_broken = 0;  // images that may be unreadable: their items are left out and counted
  bool quiet = false;
};

struct AccuracyRow {
  std::string modalities;  // "text+image", ...; a baseline's name otherwise
  std::string inference;   // "expected", "sampled", "zero-shot"; empty for a baseline
  std::string geo;         // "all", "cz", ...
  int64_t items = 0, top1 = 0, top5 = 0;  // items, and those whose category is the first, among the first five
};

/// Collects hits into rows for all items, for every language, and for all items but emoji13's flags.
class AccuracyCounter {
 public:
  /// The table must outlive the counter.
  AccuracyCounter(const GlamiTable& table, std::string modalities, std::string inference);
  /// One item: whether its category is the first, and among the first five.
  void count(uint32_t row, bool first, bool among_five);
  void finish(std::vector<AccuracyRow>& rows, std::vector<AccuracyRow>& without_flags) const;

 private:
  const GlamiTable& table_;
  std::string modalities_, inference_;
  int flags_;
  AccuracyRow all_, without_flags_;
  std::map<uint8_t, AccuracyRow> geos_;
};

struct Evaluation {
  int64_t items = 0, skipped = 0;  // evaluated; left out because their image is broken
  std::string majority;            // category that is the most frequent here
  double majority_top1 = 0;
  std::vector<AccuracyRow> rows;         // with geo "all" and every geo that occurs
  std::vector<AccuracyRow> baselines;    // naive Bayes, if it was given
  /// The same without the most frequent category of emoji13, which its text gives away; empty elsewhere.
  std::vector<AccuracyRow> rows_without_flags;

  nlohmann::json to_json() const;
  /// The table that weft-evaluate prints.
  std::string to_text() const;
};

/// Evaluates the rows of a table whose categories are the model's, which must read every modality asked for. `train` is
/// what naive Bayes learns from; null leaves it out.
Evaluation evaluate(const Classifier& model, const GlamiTable& table, const std::vector<uint32_t>& rows,
                    const EvaluationOptions& options, const GlamiTable* train = nullptr,
                    const std::vector<uint32_t>& train_rows = {});

}  // namespace weft
