#include "data/emoji.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>
#include <set>
#include <string>
#include <vector>

#include "data/csv.h"
#include "data/font.h"
#include "data/geo.h"
#include "data/hash.h"
#include "data/image.h"
#include "data/split.h"
#include "data/utf8.h"
#include "tensor/check.h"

extern char** environ;

namespace weft {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMarker = "emoji13.json";
constexpr double kHeldOut = 0.1;

void require_source(const fs::path& path, const char* package) {
  std::error_code error;
  check_input(fs::exists(path, error), "{}: not found: install the Debian package {}", path.string(), package);
}

struct Emoji {
  std::u32string sequence;  // as in emoji-test.txt, with its variation selectors
  std::string category;     // the subgroup
  bool test = false;
};

/// CLDR's and EmojiOne's files name a sequence without its variation selectors.
std::u32string without(std::u32string_view sequence, std::u32string_view dropped) {
  std::u32string kept;
  for (char32_t c : sequence)
    if (dropped.find(c) == std::u32string_view::npos) kept += c;
  return kept;
}

/// The fully-qualified emoji of emoji-test.txt without skin tones, in the file's order.
std::vector<Emoji> read_emoji_list(const fs::path& file) {
  std::ifstream stream(file);
  check_input(stream.is_open(), "{}: cannot be opened: {}", file.string(), std::strerror(errno));
  std::vector<Emoji> list;
  std::string line, subgroup;
  const std::string heading = "# subgroup: ";
  for (int64_t number = 1; std::getline(stream, line); ++number) {
    if (line.starts_with(heading)) subgroup = line.substr(heading.size());
    if (line.empty() || line[0] == '#' || line.find("; fully-qualified") == std::string::npos) continue;
    Emoji emoji;
    emoji.category = subgroup;
    const char* at = line.c_str();
    while (true) {
      char* end = nullptr;
      unsigned long code_point = std::strtoul(at, &end, 16);
      if (end == at) break;
      check_input(code_point > 0 && code_point <= 0x10FFFF, "{}: line {}: {:X} is no code point", file.string(), number,
                  code_point);
      emoji.sequence += static_cast<char32_t>(code_point);
      at = end;
    }
    check_input(!emoji.sequence.empty() && !subgroup.empty(), "{}: line {}: code points under a subgroup expected",
                file.string(), number);
    bool skin_tone = std::any_of(emoji.sequence.begin(), emoji.sequence.end(),
                                 [](char32_t c) { return c >= 0x1F3FB && c <= 0x1F3FF; });
    if (!skin_tone) list.push_back(std::move(emoji));
  }
  check_input(!list.empty(), "{}: has no fully-qualified emoji", file.string());
  return list;
}

/// Holds out a tenth of each category by a hash of the emoji.
void split(std::vector<Emoji>& list) {
  std::map<std::string, int> ids;
  std::vector<uint64_t> hashes;
  std::vector<int> categories;
  for (const Emoji& emoji : list) {
    hashes.push_back(hash_text(utf8(emoji.sequence)));
    categories.push_back(ids.emplace(emoji.category, static_cast<int>(ids.size())).first->second);
  }
  std::vector<bool> held_out = hold_out(hashes, categories, kHeldOut);
  for (size_t i = 0; i < list.size(); ++i) list[i].test = held_out[i];
}

struct Text {
  std::string name, description;
  bool derived = false;  // made by CLDR's rules rather than written by a person
};

/// The annotations of one language by emoji (UTF-8, without variation selectors).
std::map<std::string, Text> read_annotations(const fs::path& cldr, std::string_view language) {
  std::map<std::string, Text> texts;
  for (bool derived : {false, true}) {
    fs::path file = cldr / (derived ? "annotationsDerived" : "annotations") / (std::string(language) + ".xml");
    require_source(file, "unicode-cldr-core");
    pugi::xml_document document;
    pugi::xml_parse_result result = document.load_file(file.c_str());
    check_input(result, "{}: byte {}: {}", file.string(), static_cast<int64_t>(result.offset), result.description());
    for (pugi::xml_node node : document.child("ldml").child("annotations").children("annotation")) {
      Text& text = texts[node.attribute("cp").as_string()];
      text.derived = derived;
      std::string value = node.text().as_string();
      if (std::string_view(node.attribute("type").as_string()) == "tts") {
        text.name = value;
        continue;
      }
      // "a | b | c" becomes "a, b, c".
      text.description.clear();
      for (size_t i = 0; i < value.size(); ++i) {
        if (value.compare(i, 3, " | ") == 0) {
          text.description += ", ";
          i += 2;
        } else {
          text.description += value[i];
        }
      }
    }
  }
  return texts;
}

/// ruby-gemojione's folder of PNGs; its version is part of the path.
fs::path find_emoji_one(const fs::path& gems) {
  std::error_code error;
  std::set<fs::path> found;
  for (const auto& entry : fs::directory_iterator(gems, error))
    if (entry.path().filename().string().starts_with("gemojione-")) found.insert(entry.path() / "assets" / "png");
  fs::path folder = found.empty() ? gems / "gemojione-3.3.0" / "assets" / "png" : *found.rbegin();
  require_source(folder, "ruby-gemojione");
  return folder;
}

/// EmojiOne's drawing; nothing where it has none (it stops at Unicode 9).
bool draw_emoji_one(const fs::path& folder, const std::u32string& sequence, Image& image) {
  std::string name;
  for (char32_t c : without(sequence, U"\uFE0F\u200D"))
    name += fmt::format("{}{:04X}", name.empty() ? "" : "-", static_cast<uint32_t>(c));
  fs::path file = folder / (name + ".png");
  std::error_code error;
  if (!fs::exists(file, error)) return false;
  image = read_image(file, Alpha::over_white);
  return true;
}

/// Runs spm_train in `folder` on texts.txt there. Relative names, since the model file records them, and a fixed number
/// of threads, since sums depend on it.
void train_tokenizer(const fs::path& spm_train, const fs::path& folder) {
  std::vector<std::string> words = {spm_train.string(),
                                    "--input=texts.txt",
                                    "--model_prefix=spiece",
                                    "--model_type=unigram",
                                    "--vocab_size=30000",
                                    "--normalization_rule_name=nmt_nfkc",
                                    "--byte_fallback=true",
                                    "--character_coverage=1.0",
                                    "--pad_id=0",
                                    "--eos_id=1",
                                    "--unk_id=2",
                                    "--bos_id=-1",
                                    "--num_threads=2",
                                    "--random_seed=1"};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawn_file_actions_addopen(&actions, 1, "spm_train.log", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t child = 0;
  int error = posix_spawn(&child, spm_train.c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  check_input(error == 0, "{}: cannot be run: {}", spm_train.string(), std::strerror(error));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  std::string line, last;
  for (std::ifstream log(folder / "spm_train.log"); std::getline(log, line);)
    if (!line.empty()) last = line;
  check_input(WIFEXITED(status) && WEXITSTATUS(status) == 0 && fs::exists(folder / "spiece.model"), "{} failed: {}",
              spm_train.string(), last);
  for (const char* name : {"texts.txt", "spm_train.log", "spiece.vocab"}) fs::remove(folder / name);
}

/// A folder that is removed again unless it was renamed to its final name.
class Staging {
 public:
  explicit Staging(const fs::path& target) : target_(target), path_(target.string() + ".partial") {
    std::error_code error;
    fs::remove_all(path_, error);
    const bool made = fs::create_directories(path_ / "images", error);  // before error.message() is asked for
    check_input(made, "{}: cannot be created: {}", path_.string(),
                error.message());
  }
  ~Staging() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  const fs::path& path() const { return path_; }
  void commit() {
    fs::path old = target_.string() + ".old";
    std::error_code error;
    fs::remove_all(old, error);
    if (fs::exists(target_)) fs::rename(target_, old);
    fs::rename(path_, target_);
    fs::remove_all(old, error);
  }

 private:
  fs::path target_, path_;
};

void check_target(const fs::path& out) {
  std::error_code error;
  if (!fs::exists(out, error)) return;
  check_input(fs::is_directory(out, error), "{}: is not a folder", out.string());
  check_input(fs::is_empty(out, error) || fs::exists(out / kMarker, error),
              "{}: is not empty and no emoji13 folder (it has no {}): name a new folder", out.string(), kMarker);
}

}  // namespace

EmojiCounts prepare_emoji(const fs::path& out, const EmojiSources& sources, const PrepareProgress& progress,
                          EmojiCategories kind) {
  auto report = [&](std::string_view stage, size_t done, size_t total) {
    if (progress) progress(stage, static_cast<int64_t>(done), static_cast<int64_t>(total));
  };
  check(!out.empty(), "[prepare_emoji] the folder to write must have a name");
  fs::path target = fs::absolute(out).lexically_normal();
  if (target.filename().empty()) target = target.parent_path();
  check_target(target);
  require_source(sources.emoji_list, "unicode-data");
  require_source(sources.cldr, "unicode-cldr-core");
  require_source(sources.noto, "fonts-noto-color-emoji");
  require_source(sources.spm_train, "sentencepiece");
  fs::path emoji_one = find_emoji_one(sources.gems);

  std::vector<Emoji> list = read_emoji_list(sources.emoji_list);
  std::vector<std::map<std::string, Text>> annotations;
  for (const Geo& geo : kGeos) {
    report("reading texts", annotations.size(), kGeos.size());
    annotations.push_back(read_annotations(sources.cldr, geo.language));
  }
  report("reading texts", kGeos.size(), kGeos.size());
  // Emoji that are newer than CLDR's texts have no name in any language.
  std::erase_if(list, [&](const Emoji& emoji) {
    std::string key = utf8(without(emoji.sequence, U"\uFE0F"));
    return std::none_of(annotations.begin(), annotations.end(), [&](const auto& texts) {
      auto text = texts.find(key);
      return text != texts.end() && !text->second.name.empty();
    });
  });
  split(list);
  if (kind == EmojiCategories::emoji) {
    // After the split, which holds out emoji of every subgroup.
    std::map<std::string, Text> english = read_annotations(sources.cldr, "en");
    for (Emoji& emoji : list) emoji.category = english[utf8(without(emoji.sequence, U"\uFE0F"))].name;
  }
  std::map<std::string, int> categories;
  for (const Emoji& emoji : list) categories[emoji.category] = 0;
  int next_category = 0;
  for (auto& [name, id] : categories) id = next_category++;

  Staging staging(target);
  CsvWriter train(staging.path() / "GLAMI-1M-train.csv"), test(staging.path() / "GLAMI-1M-test.csv");
  for (CsvWriter* writer : {&train, &test})
    writer->write({"item_id", "image_id", "geo", "name", "description", "category", "category_name", "label_source"});
  EmojiFont noto(sources.noto);
  EmojiCounts counts;
  counts.emoji = static_cast<int64_t>(list.size());
  counts.categories = static_cast<int64_t>(categories.size());
  std::set<std::string> training_texts;
  int64_t item_id = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    report("drawing emoji", i, list.size());
    const Emoji& emoji = list[i];
    counts.held_out_emoji += emoji.test;
    std::string key = utf8(without(emoji.sequence, U"\uFE0F"));
    for (bool second : {false, true}) {
      Image drawing;
      if (second) {
        if (!draw_emoji_one(emoji_one, emoji.sequence, drawing)) continue;
      } else {
        std::optional<Image> drawn = noto.draw(emoji.sequence);
        if (!drawn) continue;
        drawing = std::move(*drawn);
      }
      std::string image_id = std::to_string(counts.images++);
      write_image(staging.path() / "images" / (image_id + ".jpg"), drawing);
      for (size_t g = 0; g < kGeos.size(); ++g) {
        auto text = annotations[g].find(key);
        if (text == annotations[g].end() || text->second.name.empty()) continue;
        const auto& [name, description, derived] = text->second;
        std::string item = std::to_string(item_id++), category = std::to_string(categories[emoji.category]);
        (emoji.test ? test : train)
            .write(
                {item, image_id, kGeos[g].code, name, description, category, emoji.category, derived ? "" : "admin"});
        ++(emoji.test ? counts.test_items : counts.train_items);
        if (!emoji.test) training_texts.insert(description.empty() ? name : name + " " + description);
      }
    }
  }
  report("drawing emoji", list.size(), list.size());
  train.close();
  test.close();

  report("training the tokenizer", 0, 1);
  std::string joined;
  for (const std::string& text : training_texts) joined += text + "\n";
  write_file(staging.path() / "texts.txt", {joined.begin(), joined.end()});
  train_tokenizer(sources.spm_train, staging.path());
  nlohmann::ordered_json marker = {
      {"data_set", "emoji13"},
      {"emoji", counts.emoji},
      {"held_out_emoji", counts.held_out_emoji},
      {"categories", counts.categories},
      {"images", counts.images},
      {"train_items", counts.train_items},
      {"test_items", counts.test_items},
      {"texts", "Unicode CLDR annotations (Unicode License)"},
      {"images_from", {"Noto Color Emoji (SIL Open Font License 1.1)", "EmojiOne in ruby-gemojione (CC BY-SA 4.0)"}}};
  std::string json = marker.dump(2) + "\n";
  write_file(staging.path() / kMarker, {json.begin(), json.end()});
  report("training the tokenizer", 1, 1);
  staging.commit();
  return counts;
}

}  // namespace weft
