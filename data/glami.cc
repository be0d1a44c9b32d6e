#include "data/glami.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "data/csv.h"
#include "data/image.h"
#include "tensor/atomic_file.h"
#include "tensor/check.h"

namespace weft {
namespace {

constexpr size_t kMaxCategories = std::numeric_limits<uint16_t>::max();

/// A number that is a file's name too, so 007 and 7 must not both be one.
int64_t parse_id(std::string_view field, const char* column, const CsvReader& csv) {
  int64_t id = 0;
  auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), id);
  bool plain = !field.empty() && field[0] != '-' && (field[0] != '0' || field.size() == 1);
  check_input(error == std::errc() && end == field.data() + field.size() && plain,
              "{}: {} must be a number without leading zeros but is {}", csv.place(), column, quote(field));
  return id;
}

LabelSource parse_label_source(std::string_view field, const CsvReader& csv) {
  if (field.empty() || field == "NaN" || field == "nan") return LabelSource::unknown;
  for (size_t i = 0; i < kLabelSources.size(); ++i)
    if (field == kLabelSources[i]) return static_cast<LabelSource>(i);
  fail("{}: label_source must be admin, combined-tag, custom-tag, quality-check or empty but is {}", csv.place(),
       quote(field));
}

}  // namespace

CategoryIndex::CategoryIndex(std::vector<std::string> names) : names_(std::move(names)) {
  std::sort(names_.begin(), names_.end());
  check(names_.size() <= kMaxCategories, "[CategoryIndex] at most {} categories are possible but there are {}",
        kMaxCategories, names_.size());
  for (size_t i = 0; i < names_.size(); ++i) {
    check(!names_[i].empty(), "[CategoryIndex] every category must have a name but one is empty");
    check(i == 0 || names_[i] != names_[i - 1], "[CategoryIndex] names must be distinct but \"{}\" is there twice",
          names_[i]);
  }
}

std::optional<int> CategoryIndex::find(std::string_view name) const {
  auto at = std::lower_bound(names_.begin(), names_.end(), name);
  if (at == names_.end() || *at != name) return std::nullopt;
  return static_cast<int>(at - names_.begin());
}

void CategoryIndex::save(const std::filesystem::path& file) const {
  std::string json = nlohmann::json({{"categories", names_}}).dump(2) + "\n";
  write_file(file, {json.begin(), json.end()});
}

CategoryIndex CategoryIndex::load(const std::filesystem::path& file) {
  constexpr int64_t kMaxBytes = 64 << 20;
  std::vector<uint8_t> bytes = read_file(file, kMaxBytes);
  nlohmann::json json = nlohmann::json::parse(bytes.begin(), bytes.end(), nullptr, false);
  auto at = json.is_object() ? json.find("categories") : json.end();
  bool strings = at != json.end() && at->is_array() && !at->empty() &&
                 std::all_of(at->begin(), at->end(), [](const auto& name) { return name.is_string(); });
  check_input(strings, "{}: must be {{\"categories\": [names]}}", file.string());
  auto names = at->get<std::vector<std::string>>();
  try {
    CategoryIndex index(names);
    check(index.names_ == names, "[CategoryIndex] names must be in order but are not");
    return index;
  } catch (const std::invalid_argument& error) {
    fail("{}: {}", file.string(), error.what());
  }
}

std::filesystem::path GlamiTable::image_path(size_t i) const {
  return folder_ / "images" / (std::to_string(items_[i].image_id) + ".jpg");
}

GlamiTable read_glami(const std::filesystem::path& folder, std::string_view split, const GlamiOptions& options) {
  check(split == "train" || split == "test", "[read_glami] split must be train or test but is \"{}\"", split);
  std::error_code error;
  check_input(std::filesystem::is_directory(folder, error), "{}: no such folder", folder.string());
  GlamiTable table;
  table.folder_ = folder;
  table.file_ = folder / fmt::format("GLAMI-1M-{}.csv", split);
  CsvReader csv(table.file_);
  const size_t item_id = csv.column("item_id"), image_id = csv.column("image_id"), geo = csv.column("geo"),
               name = csv.column("name"), description = csv.column("description"),
               category_name = csv.column("category_name"), label_source = csv.column("label_source");
  csv.column("category");  // required by the format, though its number is not used

  // More than the texts can take; pages that are never written to cost nothing, while growing would copy them all.
  table.texts_.reserve(std::filesystem::file_size(table.file_));
  std::map<std::string, uint16_t, std::less<>> seen;  // categories in the order of the file
  while (csv.next()) {
    Item item;
    item.label_source = parse_label_source(csv[label_source], csv);
    std::optional<int> market = find_geo(csv[geo]);
    check_input(market.has_value(), "{}: geo must be one of GLAMI-1M's 13 (cz, sk, ...) but is {}", csv.place(),
                quote(csv[geo]));
    item.geo = static_cast<uint8_t>(*market);
    item.item_id = parse_id(csv[item_id], "item_id", csv);
    item.image_id = parse_id(csv[image_id], "image_id", csv);
    std::string_view category = csv[category_name];
    check_input(!category.empty(), "{}: category_name must not be empty", csv.place());
    if (options.categories != nullptr) {
      std::optional<int> known = options.categories->find(category);
      check_input(known.has_value(), "{}: category_name {} is not among the model's {} categories", csv.place(),
                  quote(category), options.categories->size());
      item.category = static_cast<uint16_t>(*known);
    } else {
      auto at = seen.find(category);
      if (at == seen.end()) {
        check_input(seen.size() < kMaxCategories, "{}: more than {} categories", csv.place(), kMaxCategories);
        at = seen.emplace(category, static_cast<uint16_t>(seen.size())).first;
      }
      item.category = at->second;
    }
    if (options.human_labels && !is_human(item.label_source)) continue;
    item.text = table.texts_.size();
    item.name_bytes = static_cast<uint32_t>(csv[name].size());
    item.description_bytes = static_cast<uint32_t>(csv[description].size());
    table.texts_.append(csv[name]).append(" ").append(csv[description]);
    check_input(table.items_.size() < std::numeric_limits<uint32_t>::max(), "{}: more than 2^32 rows", csv.place());
    table.items_.push_back(item);
  }
  check_input(csv.row() > 0, "{}: has no items", table.file_.string());
  check_input(!table.items_.empty(), "{}: none of its {} items has a human label", table.file_.string(), csv.row());
  if (options.categories != nullptr) {
    table.categories_ = *options.categories;
  } else {
    std::vector<uint16_t> sorted(seen.size());
    std::vector<std::string> names;
    for (const auto& [key, id] : seen) {
      sorted[id] = static_cast<uint16_t>(names.size());
      names.push_back(key);
    }
    for (Item& item : table.items_) item.category = sorted[item.category];
    table.categories_ = CategoryIndex(std::move(names));
  }
  table.items_.shrink_to_fit();
  return table;
}

}  // namespace weft
