#include "data/glami.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>

#include "data/split.h"
#include "temporary_folder.h"

using namespace weft;

namespace {

constexpr const char* kHeader = "item_id,image_id,geo,name,description,category,category_name,label_source\n";

GlamiTable read(const TemporaryFolder& folder, const std::string& csv, const GlamiOptions& options = {}) {
  folder.write("GLAMI-1M-train.csv", csv);
  return read_glami(folder.path(), "train", options);
}

/// The message of the error that reading gives, without the folder.
std::string error_of(const TemporaryFolder& folder, const std::string& csv, const GlamiOptions& options = {}) {
  try {
    read(folder, csv, options);
  } catch (const std::runtime_error& error) {
    std::string message = error.what(), prefix = folder.path().string() + "/";
    REQUIRE(message.starts_with(prefix));
    return message.substr(prefix.size());
  }
  return "no error";
}

}  // namespace

TEST_CASE("rows of a GLAMI-1M file, in any column order and with columns beyond the eight") {
  TemporaryFolder folder;
  GlamiTable table = read(folder,
                          "label_source,image_url,category_name,geo,name,item_id,category,description,image_id\n"
                          "custom-tag,https://x/1.jpg,womens-boots,cz,Boty,12,7,\"černé, \"\"kožené\"\"\nna zip\",345\n"
                          ",,boys-tank-tops,gr,μπλούζα,13,1,,0\n"
                          "quality-check,,womens-boots,bg,ботуши,14,7,нови,345\n");
  REQUIRE(table.size() == 3);
  CHECK(table.categories().names() == std::vector<std::string>{"boys-tank-tops", "womens-boots"});
  CHECK(table[0].item_id == 12);
  CHECK(table[0].image_id == 345);
  CHECK(table[0].category == 1);
  CHECK(table[1].category == 0);
  CHECK(kGeos[table[0].geo].language == "cs");
  CHECK(kGeos[table[1].geo].code == "gr");
  CHECK(table[0].label_source == LabelSource::custom_tag);
  CHECK(table[1].label_source == LabelSource::unknown);
  CHECK(table[2].label_source == LabelSource::quality_check);
  CHECK(table.name(0) == "Boty");
  CHECK(table.description(0) == "černé, \"kožené\"\nna zip");
  CHECK(table.text(0) == "Boty černé, \"kožené\"\nna zip");
  CHECK(table.text(1) == "μπλούζα");
  CHECK(table.description(1).empty());
  CHECK(table.name(2) == "ботуши");
  CHECK(table.text(2) == "ботуши нови");
  CHECK(table.image_path(0) == folder.path() / "images" / "345.jpg");
  CHECK(table.bytes() >= 3 * sizeof(Item));
  CHECK(sizeof(Item) == 40);
}

TEST_CASE("the filter keeps the labels that a person gave") {
  TemporaryFolder folder;
  std::string csv = kHeader;
  int id = 0;
  for (const char* source : {"admin", "", "custom-tag", "combined-tag", "quality-check", "NaN"})
    csv += fmt::format("{0},{0},cz,n,d,1,c,{1}\n", id++, source);
  GlamiOptions human;
  human.human_labels = true;
  CHECK(read(folder, csv).size() == 6);
  GlamiTable table = read(folder, csv, human);
  REQUIRE(table.size() == 3);
  CHECK(table[0].item_id == 0);
  CHECK(table[1].item_id == 2);
  CHECK(table[2].item_id == 4);
  CHECK(error_of(folder, std::string(kHeader) + "1,1,cz,n,d,1,c,\n", human) ==
        "GLAMI-1M-train.csv: none of its 1 items has a human label");
}

TEST_CASE("what a GLAMI-1M file must not have is named with its row") {
  TemporaryFolder folder;
  auto row = [&](const std::string& line) {
    return error_of(folder, kHeader + ("1,1,cz,n,d,1,c,admin\n" + line + "\n"));
  };
  CHECK(error_of(folder, "item_id,image_id,geo,name,category,category_name,label_source\n") ==
        "GLAMI-1M-train.csv: header: column \"description\" is missing; it has "
        "'item_id','image_id','geo','name','category','category_name','label_source'");
  CHECK(error_of(folder, kHeader) == "GLAMI-1M-train.csv: has no items");
  CHECK(row("1,1,cz,n,d,1,c") == "GLAMI-1M-train.csv: row 2 (line 3): 7 fields where the header has 8");
  CHECK(row("1,1,de,n,d,1,c,admin") ==
        "GLAMI-1M-train.csv: row 2 (line 3): geo must be one of GLAMI-1M's 13 (cz, sk, ...) but is 'de'");
  CHECK(row("x,1,cz,n,d,1,c,admin") ==
        "GLAMI-1M-train.csv: row 2 (line 3): item_id must be a number without leading zeros but is 'x'");
  for (const char* id : {"../../etc/passwd", "-1", "007", "", "1 ", "99999999999999999999", "1.0"})
    CHECK(row(fmt::format("1,{},cz,n,d,1,c,admin", id)) ==
          fmt::format(
              "GLAMI-1M-train.csv: row 2 (line 3): image_id must be a number without leading zeros but is '{}'", id));
  CHECK(row("1,1,cz,n,d,1,,admin") == "GLAMI-1M-train.csv: row 2 (line 3): category_name must not be empty");
  CHECK(row("1,1,cz,n,d,1,c,robot") ==
        "GLAMI-1M-train.csv: row 2 (line 3): label_source must be admin, combined-tag, custom-tag, quality-check or "
        "empty but is 'robot'");
  CHECK_THROWS_WITH_AS(read_glami(folder.path() / "none", "train"), doctest::Contains("none: no such folder"),
                       std::runtime_error);
  CHECK_THROWS_WITH_AS(read_glami(folder.path(), "test"), doctest::Contains("GLAMI-1M-test.csv: cannot be opened"),
                       std::runtime_error);
  CHECK_THROWS_WITH(read_glami(folder.path(), "valid"), "[read_glami] split must be train or test but is \"valid\"");
}

TEST_CASE("a model's category index is kept and applied") {
  TemporaryFolder folder;
  CategoryIndex index({"shoes", "bags", "a \"quoted\" one"});
  index.save(folder.path() / "categories.json");
  CategoryIndex loaded = CategoryIndex::load(folder.path() / "categories.json");
  CHECK(loaded == index);
  CHECK(loaded.find("bags") == 1);
  CHECK(!loaded.find("bag"));
  GlamiOptions options;
  options.categories = &loaded;
  std::string csv = std::string(kHeader) + "1,1,cz,n,d,1,shoes,admin\n";
  GlamiTable table = read(folder, csv, options);
  CHECK(table[0].category == 2);
  CHECK(table.categories().size() == 3);
  CHECK(error_of(folder, csv + "1,1,cz,n,d,1,hats,admin\n", options) ==
        "GLAMI-1M-train.csv: row 2 (line 3): category_name 'hats' is not among the model's 3 categories");
  for (const char* bad :
       {"", "[]", "{}", "{\"categories\": []}", "{\"categories\": [1]}", "{\"categories\": [\"a\"",
        "{\"categories\": [\"a\", \"a\"]}", "{\"categories\": [\"b\", \"a\"]}", "{\"categories\": [\"\"]}"})
    CHECK_THROWS_AS(CategoryIndex::load(folder.write("bad.json", bad)), std::runtime_error);
  CHECK_THROWS_WITH(CategoryIndex({"a", "a"}), "[CategoryIndex] names must be distinct but \"a\" is there twice");
}

TEST_CASE("holding out a share of each category") {
  std::vector<uint64_t> hashes;
  std::vector<int> categories;
  for (auto [category, count] : std::map<int, int>{{0, 100}, {1, 1}, {2, 2}, {3, 14}, {4, 15}})
    for (int i = 0; i < count; ++i) hashes.push_back(hashes.size() * 7919 % 1009), categories.push_back(category);
  std::vector<bool> held_out = hold_out(hashes, categories, 0.1);
  std::map<int, int> counts;
  for (size_t i = 0; i < held_out.size(); ++i) counts[categories[i]] += held_out[i];
  CHECK(counts == std::map<int, int>{{0, 10}, {1, 0}, {2, 1}, {3, 1}, {4, 2}});
  CHECK_THROWS_WITH(hold_out(hashes, categories, 1.0), "[hold_out] fraction must lie between 0 and 1 but is 1");
}

TEST_CASE("validation shares neither image nor text with training") {
  TemporaryFolder folder;
  // Two drawings of each of 60 things in 3 languages: images tie the languages together, texts the drawings.
  std::string csv = kHeader;
  for (int thing = 0, item = 0; thing < 60; ++thing)
    for (int drawing = 0; drawing < 2; ++drawing)
      for (const char* geo : {"cz", "sk", "ro"})
        csv += fmt::format("{},{},{},{} {},,1,category {},admin\n", item++, thing * 2 + drawing, geo, geo, thing,
                           thing % 3);
  GlamiTable table = read(folder, csv);
  ValidationSplit split = validation_split(table, 0.2);
  CHECK(split.train.size() == 288);
  CHECK(split.validation.size() == 72);
  std::set<int64_t> images;
  std::set<std::string_view> texts;
  std::map<int, int> categories;
  for (uint32_t i : split.train) images.insert(table[i].image_id), texts.insert(table.text(i));
  for (uint32_t i : split.validation) {
    CHECK(!images.contains(table[i].image_id));
    CHECK(!texts.contains(table.text(i)));
    ++categories[table[i].category];
  }
  CHECK(categories == std::map<int, int>{{0, 24}, {1, 24}, {2, 24}});
  CHECK(validation_split(table, 0.2).validation == split.validation);
  CHECK(validation_split(table, 0.2, 1).validation != split.validation);
}
