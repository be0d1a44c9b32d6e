// SentencePiece against what the library made of the same texts, and against models that no one should trust.
#include "tokenizer/sentencepiece.h"

#include "tests/sentencepiece_models.h"
#include "tokenizer/protobuf.h"
#include "tokenizer/text_normalizer.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <sstream>
#include <stdexcept>

using namespace weft;
namespace fs = std::filesystem;

namespace {

const fs::path goldens = fs::path(WEFT_TESTS) / "golden";

std::string read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  REQUIRE_MESSAGE(in.good(), file.string());
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::vector<std::string> lines_of(const fs::path& file) {
  std::istringstream in(read(file));
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

SentencePiece golden(const std::string& name) {
  return SentencePiece::load(goldens / "sentencepiece" / (name + ".model"));
}

std::string error_of(std::string_view bytes) {
  try {
    SentencePiece::parse(bytes, "x.model");
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

std::vector<std::int32_t> row(const TokenBatch& batch, std::size_t i) {
  return {batch.ids.begin() + i * batch.length, batch.ids.begin() + (i + 1) * batch.length};
}

// Encodes and decodes whatever the model makes of it.
void use(const SentencePiece& tokenizer) {
  for (const char* text : {"", "A\xcc\x81 \xef\xac\x81 word", "<mask> \xf0\x9f\x98\x80\xff", "aab\xe2\x80\xa6"}) {
    tokenizer.decode(tokenizer.encode(text));
  }
}

}  // namespace

TEST_CASE("ids and decoded text are the library's") {
  const auto texts = lines_of(goldens / "sentencepiece_texts.txt");
  REQUIRE(texts.size() > 50);
  for (const std::string name : {"rules", "identity", "symbols", "suffix", "spaces", "bpe", "bpe_bytes"}) {
    CAPTURE(name);
    const SentencePiece tokenizer = golden(name);
    const auto ids = lines_of(goldens / "sentencepiece" / fmt::format("{}.ids", name));
    REQUIRE(ids.size() == texts.size());
    const auto decoded = lines_of(goldens / "sentencepiece" / fmt::format("{}.txt", name));
    REQUIRE(decoded.size() == texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      CAPTURE(texts[i]);
      const auto got = tokenizer.encode(texts[i]);
      CHECK(fmt::format("{}", fmt::join(got, " ")) == ids[i]);
      CHECK(tokenizer.decode(got) == decoded[i]);
    }
  }
}

TEST_CASE("what a model says of its pieces") {
  const SentencePiece tokenizer = golden("rules");
  CHECK(tokenizer.pad_id() == 0);
  CHECK(tokenizer.eos_id() == 1);
  CHECK(tokenizer.unk_id() == 2);
  CHECK(tokenizer.bos_id() == -1);
  CHECK(tokenizer.size() == 700);
  CHECK(tokenizer.piece(1) == "</s>");
  CHECK(tokenizer.type(1) == PieceType::control);
  CHECK(tokenizer.piece(3) == "ﬁ");
  CHECK(tokenizer.type(3) == PieceType::user_defined);
  CHECK(tokenizer.piece(4) == "<0x00>");
  CHECK(tokenizer.type(4) == PieceType::byte);
  CHECK(tokenizer.type(699) == PieceType::normal);
  CHECK(tokenizer.score(699) < 0);
  CHECK_THROWS_WITH_AS(tokenizer.piece(700), "[sentencepiece] id must be from 0 to 699 but is 700",
                       std::invalid_argument);
  CHECK_THROWS_AS(tokenizer.decode(std::vector<int>{5, -1}), std::invalid_argument);
}

TEST_CASE("truncation keeps the end-of-sentence, padding is masked") {
  const SentencePiece tokenizer = golden("rules");
  const std::vector<std::string> texts = {"dům", "", "a much longer text that has to be cut"};
  const auto one = tokenizer.encode(texts[0]), three = tokenizer.encode(texts[2]);
  REQUIRE(one.size() < 7);
  REQUIRE(three.size() > 8);
  const TokenBatch batch = tokenizer.encode_padded(texts, 8);
  CHECK(batch.count == 3);
  CHECK(batch.length == 8);
  for (std::size_t i = 0; i < 8; ++i) {
    CAPTURE(i);
    CHECK(batch.ids[i] == (i < one.size() ? one[i] : i == one.size() ? 1 : 0));
    CHECK(batch.mask[i] == (i <= one.size()));
    CHECK(batch.ids[8 + i] == (i == 0 ? 1 : 0));
    CHECK(batch.mask[8 + i] == (i == 0));
    CHECK(batch.ids[16 + i] == (i < 7 ? three[i] : 1));
    CHECK(batch.mask[16 + i] == 1);
  }
  const TokenBatch bare = tokenizer.encode_padded(texts, 8, false);
  CHECK(row(bare, 1) == std::vector<std::int32_t>(8, 0));
  CHECK(row(bare, 2) == std::vector<std::int32_t>(three.begin(), three.begin() + 8));
  CHECK(tokenizer.encode_padded({}, 8).ids.empty());
  CHECK_THROWS_WITH_AS(tokenizer.encode_padded(texts, 0), "[sentencepiece] length must be at least 1 but is 0",
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(golden("symbols").encode_padded(texts, 8),
                       "[sentencepiece] model must have a pad piece but has none", std::invalid_argument);
}

TEST_CASE("a run of unknown characters is one piece, unused pieces are never chosen") {
  const std::string model = handmade::piece("<unk>", 0, 2) + handmade::piece("a", -1) + handmade::piece("b", -2) +
                            handmade::piece("ab", -0.5f, 5) + handmade::verbatim();
  const SentencePiece tokenizer = SentencePiece::parse(model, "x.model");
  CHECK(tokenizer.encode("ab") == std::vector<int>{1, 2});
  CHECK(tokenizer.encode("ačž\xff b") == std::vector<int>{1, 0, 2});
  CHECK(tokenizer.encode("\xff") == std::vector<int>{0});
  CHECK(tokenizer.decode(std::vector<int>{3, 0, 2}) == "ab \xe2\x81\x87 b");
}

TEST_CASE("what BPE merged into an unused piece is taken apart where it was joined last") {
  using namespace handmade;
  const std::string letters = piece("<unk>", 0, 2) + piece("a", -1) + piece("b", -2) + piece("g", -3);
  const std::string bpe = trainer(integer(3, 2)) + verbatim();
  const auto ids = [](const std::string& model, const char* text) {
    return SentencePiece::parse(model, "x.model").encode(text);
  };
  CHECK(ids(letters + piece("ab", -1, 5) + bpe, "ab") == std::vector<int>{1, 2});
  CHECK(ids(letters + piece("ab", -1, 5) + piece("abg", -2) + bpe, "abgab") == std::vector<int>{5, 1, 2});
  CHECK(ids(letters + piece("ab", -1) + piece("abg", -2, 5) + bpe, "abg") == std::vector<int>{4, 3});
  // The higher score first; of equal ones the leftmost; a user-defined piece never grows.
  CHECK(ids(letters + piece("ab", -2) + piece("bg", -1) + bpe, "abg") == std::vector<int>{1, 5});
  CHECK(ids(letters + piece("aa", -1) + bpe, "aaa") == std::vector<int>{4, 1});
  CHECK(ids(letters + piece("ab", -1) + piece("bg", 0, 4) + piece("abg", 0) + bpe, "abg") == std::vector<int>{1, 5});
  CHECK(ids(letters + bpe, "čžab\xff") == std::vector<int>{0, 1, 2, 0});
}

TEST_CASE("tokens carry the text that they stand for") {
  const SentencePiece tokenizer = golden("bpe");
  const auto tokens = tokenizer.encode_tokens("ča 漢字");
  REQUIRE(tokens.size() >= 3);
  CHECK(tokens.back().id == tokenizer.unk_id());
  CHECK(tokens.back().text == "漢字");
  CHECK(tokenizer.decode_tokens(tokens) == "ča 漢字");
  for (const char* text : {"", "a 漢 b", "čau <mask> ■"}) {
    std::vector<int> ids;
    for (const auto& token : tokenizer.encode_tokens(text)) ids.push_back(token.id);
    CHECK(ids == tokenizer.encode(text));
  }
}

TEST_CASE("the dummy space is stripped once, or every space where whitespace was removed") {
  const std::string model = handmade::piece("<unk>", 0, 2) + handmade::piece("▁", -1);
  const std::vector<int> spaces = {1, 1, 1};
  CHECK(SentencePiece::parse(model, "x.model").decode(spaces) == "");
  const std::string keeps = model + handmade::normalizer(handmade::integer(4, 0));
  CHECK(SentencePiece::parse(keeps, "x.model").decode(spaces) == "  ");
}

TEST_CASE("a folder stands for its spiece.model") {
  std::string folder = (fs::temp_directory_path() / "weft-XXXXXX").string();
  REQUIRE(mkdtemp(folder.data()));
  CHECK_THROWS_WITH_AS(SentencePiece::load(folder),
                       (folder + "/spiece.model: expected a SentencePiece model, found no such file").c_str(),
                       std::runtime_error);
  fs::copy_file(goldens / "sentencepiece/rules.model", fs::path(folder) / "spiece.model");
  CHECK(SentencePiece::load(folder).size() == 700);
  fs::remove_all(folder);
  CHECK_THROWS_WITH_AS(SentencePiece::load("/dev/null"),
                       "/dev/null: expected a SentencePiece model, found something that is no file",
                       std::runtime_error);
}

TEST_CASE("a malformed model is one line with file, byte, expected and found") {
  using namespace handmade;
  const std::string unk = piece("<unk>", 0, 2), a = piece("a", -1);
  CHECK(error_of("") == "x.model: byte 0: expected a SentencePiece model, found no pieces");
  CHECK(error_of("version https://git-lfs.github.com/spec/v1") ==
        "x.model: byte 0: expected protobuf wire type 0, 1, 2 or 5, found 6 in field 14");
  CHECK(error_of(a) == "x.model: expected an unknown piece, found none in 1 pieces");
  CHECK(error_of(unk) == "x.model: expected pieces that text can hold, found none in 1 pieces");
  CHECK(error_of(unk + a + a) == "x.model: byte 30: expected a new text in piece 2, found that of piece 1 again");
  CHECK(error_of(unk + unk) == "x.model: byte 18: expected a new text in piece 1, found that of piece 0 again");
  CHECK(error_of(unk + piece("<x>", 0, 2)) == "x.model: byte 18: expected one unknown piece, found pieces 0 and 1");
  CHECK(error_of(unk + a + trainer(integer(3, 3))) ==
        "x.model: byte 30: expected model type unigram or BPE, found word");
  CHECK(error_of(unk + a + trainer(integer(3, 77))) ==
        "x.model: byte 30: expected model type unigram or BPE, found 77");
  CHECK(error_of(unk + trainer(integer(3, 2))) ==
        "x.model: expected pieces that text can hold, found none in 1 pieces");
  CHECK(error_of(unk + piece("", -1)) == "x.model: byte 18: expected text in piece 1, found none");
  CHECK(error_of(unk + piece(std::string("a\0b", 3), -1)) ==
        "x.model: byte 18: expected text in piece 1, found a zero byte");
  CHECK(error_of(unk + piece("a", std::numeric_limits<float>::quiet_NaN())) ==
        "x.model: byte 18: expected a finite score in piece 1, found nan");
  CHECK(error_of(unk + piece("a", -1, 9)) == "x.model: byte 26: expected a type from 1 to 6 in piece 1, found 9");
  CHECK(error_of(unk + piece("<0x00>", 0, 6)) ==
        "x.model: byte 18: expected no byte pieces without byte fallback, found byte piece 1");
  CHECK(error_of(unk + a + trainer(integer(35, 1))) == "x.model: expected 256 byte pieces, found none for byte 0");
  CHECK(error_of(unk + piece("<0x0a>", 0, 6) + trainer(integer(35, 1))) ==
        "x.model: byte 18: expected a text from <0x00> to <0xFF>, found byte piece 1");
  CHECK(error_of(unk + bytes(1, integer(1, 5))) ==
        "x.model: byte 18: expected a length and bytes in field 1, found a varint");
  CHECK(error_of(unk + "\x0a\x7f" + "abc") ==
        "x.model: byte 18: expected 127 bytes in field 1, found 3 before the end");
  CHECK(error_of(unk + "\x0a" + std::string(12, '\xff')) ==
        "x.model: byte 17: expected a protobuf varint of at most 10 bytes, found a longer one");
  CHECK(error_of(unk + "\x0a\xff") == "x.model: byte 17: expected a protobuf varint, found the end after 1 bytes");
  CHECK(error_of(unk + a + normalizer(bytes(2, "abc"))) ==
        "x.model: byte 32: expected a character map of more than 4 bytes, found 3");
  CHECK(error_of(unk + a + normalizer(bytes(2, std::string("\x10\0\0\0abcdefgh", 12)))) ==
        "x.model: byte 32: expected the size of a trie (a multiple of 4 below 8), found 16");
  CHECK(error_of(unk + a + normalizer(bytes(2, std::string("\x04\0\0\0abcdefgh", 12)))) ==
        "x.model: byte 43: expected a zero byte at the end of the replacements, found 104");
}

TEST_CASE("a truncated or flipped model is an error or works") {
  const std::string whole = read(goldens / "sentencepiece/rules.model");
  int errors = 0, loaded = 0;
  const auto attempt = [&](const std::string& bytes) {
    try {
      use(SentencePiece::parse(bytes, "x.model"));
      ++loaded;
    } catch (const std::runtime_error& error) {
      ++errors;
      const std::string message = error.what();
      CHECK(message.starts_with("x.model: "));
      CHECK(message.find("expected ") != std::string::npos);
      CHECK(message.find('\n') == std::string::npos);
    }
  };
  for (std::size_t size = 0; size < whole.size(); ++size) attempt(whole.substr(0, size));
  CHECK(errors + loaded == static_cast<int>(whole.size()));
  // What is left is a model only where the cut is between two of the fields that follow the pieces and their settings.
  CHECK(loaded <= 3);

  std::mt19937_64 random(1);
  // The settings and the character maps are the last 2,330 bytes; every second model is damaged there.
  const std::size_t settings = whole.size() - 2330;
  errors = loaded = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string bytes = whole;
    for (std::uint64_t flips = 1 + random() % 3; flips > 0; --flips) {
      const std::size_t at = i % 2 ? settings + random() % (bytes.size() - settings) : random() % bytes.size();
      bytes[at] = static_cast<char>(random());
    }
    attempt(bytes);
  }
  CHECK(errors > 100);
  CHECK(loaded > 100);
}

TEST_CASE("a character map of random bytes never reads outside itself") {
  std::mt19937_64 random(2);
  std::size_t matches = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::size_t units = 1 + random() % 300;
    std::string blob = {static_cast<char>(units * 4), static_cast<char>(units * 4 >> 8), 0, 0};
    for (std::size_t unit = 0; unit < units; ++unit) {
      // Small offsets with labels that match text, and small values: what gets far into the search.
      const std::uint32_t far = random() % 16 == 0, ends = random() % 2;
      const std::uint32_t node = (random() % 256) << 10 | far << 9 | ends << 8 | random() % 16;
      const std::uint32_t bits = unit == 0 || random() % 2 ? node : 0x80000000 | random() % 16;
      for (int shift = 0; shift < 32; shift += 8) blob += static_cast<char>(bits >> shift);
    }
    blob += std::string("abc\0\0def\0", 9);
    const CharacterMap map(blob, "x.model", 0);
    for (int j = 0; j < 50; ++j) {
      std::string text(1 + random() % 20, '\0');
      for (char& c : text) c = static_cast<char>(random() % 16);
      const auto match = map.longest(text);
      REQUIRE(match.length <= text.size());
      REQUIRE(match.replacement.size() <= 3);
      matches += match.length > 0;
    }
  }
  CHECK(matches > 100);
}

TEST_CASE("text of any length is cut") {
  const SentencePiece tokenizer = golden("identity");
  CHECK(tokenizer.encode(std::string(1'000'000, 'a')).size() > 100'000);
  CHECK(tokenizer.encode(std::string(1'000'000, ' ')).empty());
  CHECK(tokenizer.encode(std::string(1'000'000, '\xff')).size() <= 2);
}
