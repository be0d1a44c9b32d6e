// emoji13: a small, real, multilingual data set in GLAMI-1M's format, made of what Debian packages hold, so that every
// program has something to work on without a download. The texts are Unicode CLDR's names and keywords of emoji in
// GLAMI's 13 languages, the pictures two drawings of each emoji (Noto Color Emoji and EmojiOne), the categories the
// subgroups of Unicode's emoji list.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>

namespace weft {

/// Where the Debian packages put their files. A missing one is reported with the package's name.
struct EmojiSources {
  std::filesystem::path emoji_list = "/usr/share/unicode/emoji/emoji-test.txt";      // unicode-data
  std::filesystem::path cldr = "/usr/share/unicode/cldr/common";                     // unicode-cldr-core
  std::filesystem::path noto = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf";  // fonts-noto-color-emoji
  std::filesystem::path gems = "/usr/share/rubygems-integration/all/gems";           // ruby-gemojione
  std::filesystem::path spm_train = "/usr/bin/spm_train";                            // sentencepiece
};

/// What is the category of an item.
enum class EmojiCategories {
  subgroup,  // of Unicode's list: emoji13
  emoji,     // the emoji itself, named in English: to pretrain a text encoder that tells them apart in 13 languages
};

struct EmojiCounts {
  int64_t emoji = 0, held_out_emoji = 0, categories = 0, images = 0, train_items = 0, test_items = 0;
};

/// Called with the name of the stage, steps done and steps in all. It may throw to stop the work.
using PrepareProgress = std::function<void(std::string_view stage, int64_t done, int64_t total)>;

/// Writes the data set to `out`: GLAMI-1M-train.csv, GLAMI-1M-test.csv, images/{image_id}.jpg, spiece.model and
/// emoji13.json (what was counted). The same sources give the same bytes. About 10 % of the emoji of every category are
/// in the test file, in all languages and both drawings, and in no row of the train file. Everything is written beside
/// `out` and renamed into place at the end; `out` must be missing, empty, or an emoji13 folder, which is then replaced.
/// Throws std::runtime_error in one line.
EmojiCounts prepare_emoji(const std::filesystem::path& out, const EmojiSources& sources = {},
                          const PrepareProgress& progress = {},
                          EmojiCategories categories = EmojiCategories::subgroup);

}  // namespace weft
