// Ten thousand strings of all kinds, and ids in random order, against Debian's sentencepiece: every id and every byte
// must be the same. With WEFT_EMOJI13=DIR (what `weft-prepare emoji --out DIR` made) also every text of that folder
// with its own model.
#include "data/csv.h"
#include "tests/sentencepiece_models.h"
#include "tokenizer/sentencepiece.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

using namespace weft;
namespace fs = std::filesystem;

namespace {

struct TemporaryFolder {
  fs::path path;
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "weft-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()));
    path = name;
  }
  ~TemporaryFolder() { fs::remove_all(path); }
};

void write(const fs::path& file, std::string_view bytes) {
  std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// What a program of the library answers to `input` on its standard input.
std::string answer(const fs::path& folder, const std::string& command, std::string_view input) {
  write(folder / "in", input);
  const std::string line = fmt::format("cd '{}' && {} < in > out 2> log", folder.string(), command);
  REQUIRE_MESSAGE(std::system(line.c_str()) == 0, line);
  std::ifstream in(folder / "out", std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string joined(std::span<const int> ids) { return fmt::format("{}", fmt::join(ids, " ")); }

std::string joined(const std::vector<std::string>& lines) { return fmt::format("{}\n", fmt::join(lines, "\n")); }

void append_utf8(std::string& out, std::uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
  } else if (c < 0x10000) {
    out += {static_cast<char>(0xe0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3f)),
            static_cast<char>(0x80 | (c & 0x3f))};
  } else {
    out += {static_cast<char>(0xf0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3f)),
            static_cast<char>(0x80 | (c >> 6 & 0x3f)), static_cast<char>(0x80 | (c & 0x3f))};
  }
}

// Strings of every kind of character a normaliser or a search could stumble over, mixed.
class Strings {
 public:
  std::string next() {
    std::string out;
    // One string in a thousand is very long.
    const std::uint64_t length = below(1000) == 0 ? 20000 : below(4) == 0 ? below(200) : below(30);
    for (std::uint64_t kind = below(kinds), i = 0; i < length; ++i) {
      if (below(4) == 0) kind = below(kinds);
      append(out, kind);
    }
    std::erase(out, '\n');
    return out;
  }

 private:
  static constexpr std::uint64_t kinds = 16;

  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  std::uint32_t from(std::uint32_t first, std::uint32_t last) {
    return first + static_cast<std::uint32_t>(below(last - first + 1));
  }

  void append(std::string& out, std::uint64_t kind) {
    const std::string_view words[] = {"<mask>", "</s>", "<unk>",   "<0x41>", "čau",    "červené", " x ",
                                      "■",      "▁",    "κόκκινο", "червен", "zelená", "fi",      "gbgb",
                                      "abab",   "aaaa", "ﬁ",       "Ａｂｃ", "é",      "…"};
    switch (kind) {
      case 0: return append_utf8(out, from('a', 'z'));
      case 1: return append_utf8(out, from(' ', '~'));
      case 2: return append_utf8(out, from(0, 0x1f));
      case 3: return append_utf8(out, below(3) ? ' ' : 0x2581);
      case 4: return append_utf8(out, from(0xa0, 0x24f));
      case 5: return append_utf8(out, from(0x300, 0x36f));
      case 6: return append_utf8(out, from(0x370, 0x52f));
      case 7: return append_utf8(out, from(0x1e00, 0x206f));
      case 8: return append_utf8(out, below(2) ? from(0x2070, 0x33ff) : from(0xf900, 0xffff));
      case 9: return append_utf8(out, from(0x590, 0xd7ff));
      case 10: return append_utf8(out, from(0x10000, 0x10ffff));
      case 11: return append_utf8(out, from(0x1f000, 0x1faff));
      case 12: out += static_cast<char>(from(0x80, 0xff)); return;
      case 13: return append_utf8(out, below(2) ? from(0xd800, 0xdfff) : from(0x110000, 0x1fffff));
      case 14: out += words[below(std::size(words))]; return;
      default: out += "abg"[below(3)];
    }
  }

  std::mt19937_64 random_{20221};
};

std::vector<std::string> fuzzed() {
  Strings strings;
  std::vector<std::string> texts(10000);
  for (auto& text : texts) text = strings.next();
  return texts;
}

// Compares the ids of every text, and what they decode to.
void compare(const fs::path& model, const std::vector<std::string>& texts, const fs::path& work) {
  const SentencePiece tokenizer = SentencePiece::load(model);
  const auto expected =
      lines_of(answer(work, fmt::format("spm_encode --model='{}' --output_format=id", model.string()), joined(texts)));
  REQUIRE(expected.size() == texts.size());
  std::string decoded;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto ids = tokenizer.encode(texts[i]);
    CHECK_MESSAGE(joined(ids) == expected[i], fmt::format("text {}: \"{}\"", i, texts[i]));
    decoded += tokenizer.decode(ids);
    decoded += '\n';
  }
  // Pieces hold line breaks only as bytes, so that the texts are compared as one.
  const bool same_text =
      decoded ==
      answer(work, fmt::format("spm_decode --model='{}' --input_format=id", model.string()), joined(expected));
  CHECK(same_text);
}

// Ids in random order: pieces that no text gives, control pieces, incomplete byte sequences.
void compare_random_ids(const fs::path& model, const fs::path& work) {
  const SentencePiece tokenizer = SentencePiece::load(model);
  std::mt19937_64 random(7);
  std::vector<std::string> lines;
  std::string decoded;
  for (int i = 0; i < 10000; ++i) {
    std::vector<int> ids(random() % 20);
    const auto range = static_cast<std::uint64_t>(random() % 2 ? tokenizer.size() : std::min(tokenizer.size(), 300));
    for (int& id : ids) id = static_cast<int>(random() % range);
    lines.push_back(joined(ids));
    decoded += tokenizer.decode(ids);
    decoded += '\n';
  }
  const auto expected =
      answer(work, fmt::format("spm_decode --model='{}' --input_format=id", model.string()), joined(lines));
  const std::size_t same =
      std::mismatch(decoded.begin(), decoded.end(), expected.begin(), expected.end()).first - decoded.begin();
  CHECK_MESSAGE(decoded == expected, fmt::format("texts differ from byte {} on", same));
}

}  // namespace

TEST_CASE("10,000 strings of any bytes have the library's ids, in every model") {
  const TemporaryFolder folder;
  const fs::path models = folder.path / "models";
  fs::create_directory(models);
  const std::string make = fmt::format("bash '{}/golden/make_sentencepiece.sh' nfkc '{}'", WEFT_TESTS, models.string());
  REQUIRE(std::system(make.c_str()) == 0);
  for (const auto& entry : fs::directory_iterator(fs::path(WEFT_TESTS) / "golden/sentencepiece")) {
    if (entry.path().extension() == ".model") fs::copy_file(entry.path(), models / entry.path().filename());
  }
  write(models / "ties.model", handmade::many_ties());
  write(models / "unused.model", handmade::bpe_with_unused_pieces());
  // A dummy space before text whose whitespace stays: a second normaliser field is merged into the first.
  fs::copy_file(models / "identity.model", models / "prefix.model");
  std::ofstream(models / "prefix.model", std::ios::app) << handmade::normalizer(handmade::integer(4, 0));

  const auto texts = fuzzed();
  int compared = 0;
  for (const auto& entry : fs::directory_iterator(models)) {
    CAPTURE(entry.path().filename().string());
    compare(entry.path(), texts, folder.path);
    compare_random_ids(entry.path(), folder.path);
    ++compared;
  }
  CHECK(compared == 15);
}

TEST_CASE("every text of emoji13 has the library's ids") {
  const char* const data = std::getenv("WEFT_EMOJI13");
  if (!data) {
    MESSAGE("SKIPPED: WEFT_EMOJI13 names no folder");
    return;
  }
  std::vector<std::string> texts;
  for (const char* table : {"GLAMI-1M-train.csv", "GLAMI-1M-test.csv"}) {
    CsvReader reader(fs::path(data) / table);
    const std::size_t name = reader.column("name"), description = reader.column("description");
    while (reader.next()) {
      std::string text = std::string(reader[name]) + " " + std::string(reader[description]);
      std::erase(text, '\n');
      texts.push_back(std::move(text));
    }
  }
  MESSAGE(fmt::format("{} texts", texts.size()));
  CHECK(texts.size() > 10000);
  const TemporaryFolder folder;
  compare(fs::absolute(fs::path(data) / "spiece.model"), texts, folder.path);
}
