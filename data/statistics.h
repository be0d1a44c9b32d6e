// What is in a data set: the counts, shares and pairs of mission.md's System 5.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "data/glami.h"

namespace weft {

struct SplitFigures {
  int64_t items = 0, images = 0, texts = 0,
          human = 0;  // images and texts: distinct ones; human: items whose label a person gave
};

struct CategoryCount {
  std::string name;
  int64_t train = 0, test = 0;
};

struct Statistics {
  SplitFigures train, test, all;
  std::vector<CategoryCount> categories;                               // most training items first, then by name
  std::array<std::array<int64_t, 2>, kGeos.size()> geos{};             // [geo][train, test]
  std::array<std::array<int64_t, 2>, kLabelSources.size()> sources{};  // [label source][train, test]
  /// Pairs of items that share an image, by their languages (symmetric; on the diagonal pairs within a language), both
  /// files together.
  std::array<std::array<int64_t, kGeos.size()>, kGeos.size()> pairs{};

  int languages() const;
};

Statistics make_statistics(const GlamiTable& train, const GlamiTable& test);

/// The tables as aligned text, GLAMI-1M's published figures beside those of this data set.
std::string statistics_text(const Statistics& statistics);

/// The same as one JSON object.
std::string statistics_json(const Statistics& statistics);

}  // namespace weft
