// Multinomial naive Bayes on the words and keywords of each language: the yardstick that a text tower has to beat.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace weft {

/// Features of a text, each marked with its language: its distinct lower-case words (runs of letters, digits, marks and
/// underscores) and the distinct keywords of its description (between commas, trimmed, lower-case). log P(c | text) =
/// log(n_c / n) + sum over known features f of log((n_cf + alpha) / (n_c. + alpha V)), n_c. and V counted per language.
class NaiveBayes {
 public:
  NaiveBayes(int classes, double alpha = 0.03) : alpha_(alpha), items_(classes) {}

  void add(int language, std::string_view name, std::string_view description, int label);
  /// The k most probable classes, the most probable first; equals in the order of their numbers.
  std::vector<int> top(int language, std::string_view name, std::string_view description, int k) const;

 private:
  struct Language {
    std::unordered_map<std::string, int> features;              // its number
    std::vector<std::unordered_map<int, int>> counts;           // of each feature: class -> items that have it
    std::vector<int64_t> total;                                 // of each class, over all features
  };
  double alpha_;
  std::vector<int64_t> items_;  // of each class
  std::unordered_map<int, Language> languages_;
};

}  // namespace weft
