// Folders in GLAMI-1M's format: GLAMI-1M-train.csv, GLAMI-1M-test.csv and images/{image_id}.jpg.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/geo.h"

namespace weft {

/// How the category of an item was found. GLAMI-1M leaves the field empty (NaN) where nothing is known.
enum class LabelSource : uint8_t { unknown, admin, combined_tag, custom_tag, quality_check };

inline constexpr std::array<std::string_view, 5> kLabelSources = {"unknown", "admin", "combined-tag", "custom-tag",
                                                                  "quality-check"};

/// The labels that a person gave: admin, quality-check, custom-tag.
constexpr bool is_human(LabelSource source) {
  return source == LabelSource::admin || source == LabelSource::custom_tag || source == LabelSource::quality_check;
}

/// The names of the classes in a fixed order: a model keeps it, since its outputs have no other names.
class CategoryIndex {
 public:
  CategoryIndex() = default;
  /// Sorts the names by bytes; they must be distinct, not empty, and at most 65,535.
  explicit CategoryIndex(std::vector<std::string> names);

  int size() const { return static_cast<int>(names_.size()); }
  const std::string& name(int category) const { return names_.at(static_cast<size_t>(category)); }
  const std::vector<std::string>& names() const { return names_; }
  std::optional<int> find(std::string_view name) const;
  bool operator==(const CategoryIndex&) const = default;

  /// {"categories": ["...", ...]}; both throw std::runtime_error naming the file.
  void save(const std::filesystem::path& file) const;
  static CategoryIndex load(const std::filesystem::path& file);

 private:
  std::vector<std::string> names_;
};

/// One row, without its texts: 40 bytes.
struct Item {
  int64_t item_id = 0, image_id = 0;
  uint64_t text = 0;  // where the name begins; a space and the description follow it
  uint32_t name_bytes = 0, description_bytes = 0;
  uint16_t category = 0;
  uint8_t geo = 0;  // index into kGeos
  LabelSource label_source = LabelSource::unknown;
};

/// The rows of one CSV in memory: 40 bytes and the texts for each (about 0.3 GB for the 1.0 M of GLAMI-1M's train
/// file).
class GlamiTable {
 public:
  size_t size() const { return items_.size(); }
  const Item& operator[](size_t i) const { return items_[i]; }
  const std::vector<Item>& items() const { return items_; }
  std::string_view name(size_t i) const { return view(items_[i].text, items_[i].name_bytes); }
  std::string_view description(size_t i) const {
    return view(items_[i].text + items_[i].name_bytes + 1, items_[i].description_bytes);
  }
  /// name + " " + description, what the models read; the name alone where there is no description.
  std::string_view text(size_t i) const {
    const Item& item = items_[i];
    return view(item.text, item.name_bytes + (item.description_bytes ? 1 + item.description_bytes : 0));
  }
  std::filesystem::path image_path(size_t i) const;
  const CategoryIndex& categories() const { return categories_; }
  const std::filesystem::path& file() const { return file_; }
  /// Bytes that the rows and texts take in memory.
  size_t bytes() const { return items_.size() * sizeof(Item) + texts_.size(); }

 private:
  friend GlamiTable read_glami(const std::filesystem::path&, std::string_view, const struct GlamiOptions&);
  std::string_view view(uint64_t at, size_t bytes) const { return std::string_view(texts_).substr(at, bytes); }

  std::filesystem::path folder_, file_;
  std::vector<Item> items_;
  std::string texts_;
  CategoryIndex categories_;
};

struct GlamiOptions {
  bool human_labels = false;                  // leave out the rows whose label no person gave
  const CategoryIndex* categories = nullptr;  // a model's; without it the names in the file, sorted
};

/// Reads FOLDER/GLAMI-1M-{split}.csv (split is "train" or "test"; any column order, columns beyond the eight are
/// ignored, the number in `category` is not used: the names are). `description` and `label_source` may be empty. Throws
/// std::runtime_error naming the file and the row for a missing column, an unknown geo or label source, an id that is
/// no number, a category that `categories` does not have, and for a file (or a filter) that leaves no row.
GlamiTable read_glami(const std::filesystem::path& folder, std::string_view split, const GlamiOptions& options = {});

}  // namespace weft
