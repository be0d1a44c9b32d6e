// What prepare_emoji needs and does not find; tests/prepare_test.sh tests what it makes.
#include "data/emoji.h"

#include <doctest/doctest.h>

#include <string>

#include "temporary_folder.h"

using namespace weft;

TEST_CASE("a missing source is named with the package that has it, and nothing is left behind") {
  TemporaryFolder folder;
  struct Case {
    std::filesystem::path EmojiSources::*source;
    std::string package;
  };
  for (const Case& c : {Case{&EmojiSources::emoji_list, "unicode-data"}, Case{&EmojiSources::cldr, "unicode-cldr-core"},
                        Case{&EmojiSources::noto, "fonts-noto-color-emoji"},
                        Case{&EmojiSources::gems, "ruby-gemojione"}, Case{&EmojiSources::spm_train, "sentencepiece"}}) {
    EmojiSources sources;
    sources.*c.source = "/none/at/all";
    CAPTURE(c.package);
    std::string expected = ": not found: install the Debian package " + c.package;
    CHECK_THROWS_WITH_AS(prepare_emoji(folder.path() / "out", sources), doctest::Contains(expected.c_str()),
                         std::runtime_error);
    CHECK(std::filesystem::is_empty(folder.path()));
  }
}

TEST_CASE("sources that are not what they should be") {
  TemporaryFolder folder;
  std::filesystem::path out = folder.path() / "out";
  EmojiSources sources;
  sources.emoji_list = folder.write("emoji-test.txt", "# nothing\n");
  CHECK_THROWS_WITH_AS(prepare_emoji(out, sources), doctest::Contains("emoji-test.txt: has no fully-qualified emoji"),
                       std::runtime_error);
  sources.emoji_list = folder.write("emoji-test.txt", "# subgroup: faces\n1F600 110000 ; fully-qualified # x\n");
  CHECK_THROWS_WITH_AS(prepare_emoji(out, sources),
                       doctest::Contains("emoji-test.txt: line 2: 110000 is no code point"), std::runtime_error);
  sources.emoji_list = folder.write("emoji-test.txt", "1F600 ; fully-qualified # x\n");
  CHECK_THROWS_WITH_AS(prepare_emoji(out, sources), doctest::Contains("line 1: code points under a subgroup expected"),
                       std::runtime_error);
  sources = {};
  sources.cldr = folder.path() / "cldr";
  folder.write("cldr/annotations/cs.xml", "<ldml><annotations><annotation cp=\"x\">");
  CHECK_THROWS_WITH_AS(prepare_emoji(out, sources), doctest::Contains("cs.xml: byte "), std::runtime_error);
  sources = {};
  sources.noto = folder.write("NotoColorEmoji.ttf", "no font");
  CHECK_THROWS_WITH_AS(prepare_emoji(out, sources), doctest::Contains("NotoColorEmoji.ttf: cannot be read as a font"),
                       std::runtime_error);
  CHECK(!std::filesystem::exists(out));
  CHECK(!std::filesystem::exists(folder.path() / "out.partial"));
}

TEST_CASE("a tokenizer that cannot be trained, and a callback that stops the work, leave nothing") {
  TemporaryFolder folder;
  std::filesystem::path out = folder.path() / "out", partial = folder.path() / "out.partial";
  // Three emoji are far too few texts for 8,000 pieces.
  EmojiSources sources;
  sources.emoji_list =
      folder.write("emoji-test.txt",
                   "# subgroup: faces\n1F600 ; fully-qualified\n1F603 ; fully-qualified\n1F604 ; fully-qualified\n");
  CHECK_THROWS_WITH_AS(prepare_emoji(out, sources), doctest::Contains("spm_train failed: "), std::runtime_error);
  CHECK(!std::filesystem::exists(out));
  CHECK(!std::filesystem::exists(partial));
  auto stop = [](std::string_view stage, int64_t, int64_t) {
    if (stage == "drawing emoji") throw std::runtime_error("stopped");
  };
  CHECK_THROWS_WITH_AS(prepare_emoji(out, {}, stop), "stopped", std::runtime_error);
  CHECK(!std::filesystem::exists(out));
  CHECK(!std::filesystem::exists(partial));
}
