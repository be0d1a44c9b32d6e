#include "data/statistics.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "data/hash.h"
#include "tensor/check.h"

namespace weft {
namespace {

constexpr size_t kLanguages = kGeos.size();

/// Published for GLAMI-1M (mission.md).
constexpr const char* kGlamiItems = "1.11 M";
constexpr const char* kGlamiImages = "968 k";
constexpr const char* kGlamiTexts = "1.01 M";
constexpr const char* kGlamiHuman = "75.2 % of train";
constexpr const char* kGlamiCategories = "191";
constexpr const char* kGlamiLanguages = "13";

std::string percent(int64_t part, int64_t whole) {
  return whole == 0 ? "-" : fmt::format("{:.1f} %", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

/// Rows of cells as aligned columns: the first `left` to the left, the others to the right. Cells are ASCII or padded
/// by code points.
std::string table(const std::vector<std::vector<std::string>>& rows, size_t left) {
  auto length = [](const std::string& s) {
    return static_cast<size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  };
  std::vector<size_t> width(rows.empty() ? 0 : rows[0].size());
  for (const auto& row : rows)
    for (size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], length(row[c]));
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      std::string padding(width[c] - length(row[c]), ' ');
      if (c > 0) line += "  ";
      line += c < left ? row[c] + padding : padding + row[c];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

}  // namespace

int Statistics::languages() const {
  return static_cast<int>(
      std::count_if(geos.begin(), geos.end(), [](const auto& counts) { return counts[0] + counts[1] > 0; }));
}

Statistics make_statistics(const GlamiTable& train, const GlamiTable& test) {
  Statistics s;
  std::map<std::string, CategoryCount> categories;
  std::unordered_map<int64_t, std::array<int32_t, kLanguages>> by_image;
  std::unordered_set<uint64_t> all_texts;
  for (int side = 0; side < 2; ++side) {
    const GlamiTable& items = side == 0 ? train : test;
    SplitFigures& figures = side == 0 ? s.train : s.test;
    std::unordered_set<int64_t> images;
    std::unordered_set<uint64_t> texts;
    for (size_t i = 0; i < items.size(); ++i) {
      const Item& item = items[i];
      images.insert(item.image_id);
      texts.insert(hash_text(items.text(i)));
      figures.human += is_human(item.label_source);
      CategoryCount& category = categories[items.categories().name(item.category)];
      ++(side == 0 ? category.train : category.test);
      ++s.geos[item.geo][side];
      ++s.sources[static_cast<size_t>(item.label_source)][side];
      ++by_image[item.image_id][item.geo];
    }
    figures.items = static_cast<int64_t>(items.size());
    figures.images = static_cast<int64_t>(images.size());
    figures.texts = static_cast<int64_t>(texts.size());
    all_texts.insert(texts.begin(), texts.end());
  }
  s.all.items = s.train.items + s.test.items;
  s.all.human = s.train.human + s.test.human;
  s.all.images = static_cast<int64_t>(by_image.size());
  s.all.texts = static_cast<int64_t>(all_texts.size());
  for (const auto& [image, counts] : by_image)
    for (size_t a = 0; a < kLanguages; ++a) {
      if (counts[a] == 0) continue;
      s.pairs[a][a] += int64_t{counts[a]} * (counts[a] - 1) / 2;
      for (size_t b = 0; b < kLanguages; ++b)
        if (b != a) s.pairs[a][b] += int64_t{counts[a]} * counts[b];
    }
  for (auto& [name, count] : categories) {
    s.categories.push_back(count);
    s.categories.back().name = name;
  }
  std::stable_sort(s.categories.begin(), s.categories.end(),
                   [](const CategoryCount& a, const CategoryCount& b) { return a.train > b.train; });
  return s;
}

std::string statistics_text(const Statistics& s) {
  auto number = [](int64_t n) { return std::to_string(n); };
  int64_t train_categories = 0, test_categories = 0;
  for (const CategoryCount& c : s.categories) train_categories += c.train > 0, test_categories += c.test > 0;
  int64_t train_languages = 0, test_languages = 0;
  for (const auto& geo : s.geos) train_languages += geo[0] > 0, test_languages += geo[1] > 0;

  std::vector<std::vector<std::string>> rows = {{"", "train", "test", "all", "GLAMI-1M"}};
  auto figures = [&](const char* name, int64_t SplitFigures::*figure, const char* published) {
    rows.push_back({name, number(s.train.*figure), number(s.test.*figure), number(s.all.*figure), published});
  };
  figures("items", &SplitFigures::items, kGlamiItems);
  figures("unique images", &SplitFigures::images, kGlamiImages);
  figures("unique texts", &SplitFigures::texts, kGlamiTexts);
  rows.push_back({"human labels", percent(s.train.human, s.train.items), percent(s.test.human, s.test.items),
                  percent(s.all.human, s.all.items), kGlamiHuman});
  rows.push_back(
      {"categories", number(train_categories), number(test_categories), number(s.categories.size()), kGlamiCategories});
  rows.push_back(
      {"languages", number(train_languages), number(test_languages), number(s.languages()), kGlamiLanguages});
  std::string out = "The data set\n" + table(rows, 1);

  rows = {{"geo", "country", "language", "train", "test", "share of train"}};
  for (size_t g = 0; g < kLanguages; ++g)
    rows.push_back({std::string(kGeos[g].code), std::string(kGeos[g].country), std::string(kGeos[g].language_name),
                    number(s.geos[g][0]), number(s.geos[g][1]), percent(s.geos[g][0], s.train.items)});
  out += "\nItems by language\n" + table(rows, 3);

  rows = {{"label source", "train", "test", "share of train", "share of test"}};
  for (size_t i = 0; i < kLabelSources.size(); ++i)
    rows.push_back({i == 0 ? "(empty)" : std::string(kLabelSources[i]), number(s.sources[i][0]),
                    number(s.sources[i][1]), percent(s.sources[i][0], s.train.items),
                    percent(s.sources[i][1], s.test.items)});
  out += "\nItems by label source\n" + table(rows, 1);

  rows = {{""}};
  for (const Geo& geo : kGeos) rows[0].emplace_back(geo.code);
  for (size_t a = 0; a < kLanguages; ++a) {
    rows.push_back({std::string(kGeos[a].code)});
    for (int64_t pairs : s.pairs[a]) rows.back().push_back(number(pairs));
  }
  out += "\nPairs of items that share an image, train and test together\n" + table(rows, 1);

  rows = {{"category", "train", "test", "share of train"}};
  for (const CategoryCount& c : s.categories)
    rows.push_back({c.name, number(c.train), number(c.test), percent(c.train, s.train.items)});
  out += "\nItems by category\n" + table(rows, 1);
  return out;
}

std::string statistics_json(const Statistics& s) {
  nlohmann::ordered_json json;
  auto figures = [](const SplitFigures& f) {
    return nlohmann::ordered_json{
        {"items", f.items}, {"unique_images", f.images}, {"unique_texts", f.texts}, {"human_labels", f.human}};
  };
  json["train"] = figures(s.train);
  json["test"] = figures(s.test);
  json["all"] = figures(s.all);
  json["languages"] = s.languages();
  for (size_t g = 0; g < kLanguages; ++g)
    json["geos"][std::string(kGeos[g].code)] = {{"train", s.geos[g][0]}, {"test", s.geos[g][1]}};
  for (size_t i = 0; i < kLabelSources.size(); ++i)
    json["label_sources"][std::string(kLabelSources[i])] = {{"train", s.sources[i][0]}, {"test", s.sources[i][1]}};
  for (const CategoryCount& c : s.categories)
    json["categories"].push_back({{"name", c.name}, {"train", c.train}, {"test", c.test}});
  json["shared_image_pairs"] = {{"geos", nlohmann::ordered_json::array()}, {"counts", s.pairs}};
  for (const Geo& geo : kGeos) json["shared_image_pairs"]["geos"].push_back(geo.code);
  return json.dump();
}

}  // namespace weft
