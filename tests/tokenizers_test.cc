// Every tokenizer behind the one door against what the original libraries made of the same texts, and against files
// that no one should trust.
#include "tokenizer/tokenizer.h"

#include "tests/sentencepiece_models.h"
#include "tests/temporary_folder.h"
#include "tokenizer/characters.h"
#include "tokenizer/fix_text.h"
#include "tokenizer/gzip.h"
#include "tokenizer/html_unescape.h"
#include "tokenizer/vocabulary_json.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <stdexcept>

using namespace weft;
namespace fs = std::filesystem;

namespace {

const fs::path goldens = fs::path(WEFT_TESTS) / "golden/tokenizers";

std::vector<std::string> lines_of(const std::string& name) {
  std::ifstream in(goldens / name, std::ios::binary);
  REQUIRE_MESSAGE(in.good(), name);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string joined(const std::vector<int>& ids) { return fmt::format("{}", fmt::join(ids, " ")); }

std::string error_of(std::string_view json) {
  try {
    read_vocabulary_json(json, "vocab.json");
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

void compare(const std::string& name) {
  CAPTURE(name);
  const Tokenizer tokenizer = Tokenizer::load(goldens / name);
  const auto texts = lines_of("texts.txt"), ids = lines_of(name + ".ids"), cut = lines_of(name + ".cut8"),
             plain = lines_of(name + ".txt");
  REQUIRE(texts.size() > 300);
  REQUIRE(ids.size() == texts.size());
  REQUIRE(cut.size() == texts.size());
  REQUIRE(plain.size() == texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    CAPTURE(texts[i]);
    const auto got = tokenizer.encode_special(texts[i]);
    CHECK(joined(got) == ids[i]);
    CHECK(joined(tokenizer.encode_special(texts[i], 8)) == cut[i]);
    CHECK(tokenizer.decode(got) == nlohmann::json::parse(plain[i]).get<std::string>());
  }
}

}  // namespace

TEST_CASE("mT5, XLM-RoBERTa, M2M100 and CLIP have the originals' ids, cuts and decoded text") {
  compare("mt5");
  compare("xlm_roberta");
  compare("m2m100");
  compare("clip");
}

TEST_CASE("GLAMI's English zero-shot texts: 31 ids, 45 zeros, the last of 32") {
  const ClipTokenizer clip = ClipTokenizer::load(goldens / "clip/bpe_simple_vocab_16e6.txt.gz");
  const auto texts = lines_of("texts.txt"), ids = lines_of("clip.glami");
  REQUIRE(ids.size() == texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) CHECK(joined(clip.encode_glami(texts[i])) == ids[i]);
}

TEST_CASE("a folder's files say which tokenizer it is") {
  const auto kind = [](const char* name) { return Tokenizer::load(goldens / name).kind().index(); };
  CHECK(kind("mt5") == 1);
  CHECK(kind("xlm_roberta") == 2);
  CHECK(kind("m2m100") == 3);
  CHECK(kind("clip") == 4);
  CHECK(kind("mt5/spiece.model") == 0);
  CHECK(kind("clip/bpe_simple_vocab_16e6.txt.gz") == 4);
  const TemporaryFolder folder;
  CHECK_THROWS_WITH_AS(Tokenizer::load(folder.path()),
                       (folder.path() / "spiece.model: expected a SentencePiece model, found no such file").c_str(),
                       std::runtime_error);
  fs::copy_file(goldens / "mt5/spiece.model", folder.path() / "spiece.model");
  CHECK(Tokenizer::load(folder.path()).kind().index() == 0);
  std::ofstream(folder.path() / "config.json") << "[1]";
  CHECK_THROWS_WITH_AS(Tokenizer::load(folder.path()),
                       (folder.path() / "config.json: expected a JSON object, found something else").c_str(),
                       std::runtime_error);
}

TEST_CASE("padding, special tokens and ids out of range") {
  const Tokenizer xlm_roberta = Tokenizer::load(goldens / "xlm_roberta");
  const std::vector<std::string> texts = {"", "a <mask> b"};
  const TokenBatch batch = xlm_roberta.encode_padded(texts, 6);
  CHECK(std::vector<int>(batch.ids.begin(), batch.ids.begin() + 6) == std::vector<int>{0, 2, 1, 1, 1, 1});
  CHECK(std::vector<int>(batch.mask.begin(), batch.mask.begin() + 6) == std::vector<int>{1, 1, 0, 0, 0, 0});
  CHECK(batch.ids[6] == 0);
  CHECK(std::get<XlmRobertaTokenizer>(xlm_roberta.kind()).mask_id() == xlm_roberta.size() - 1);
  CHECK_THROWS_AS(xlm_roberta.encode_special("a", 1), std::invalid_argument);
  CHECK_THROWS_AS(xlm_roberta.decode(std::vector<int>{xlm_roberta.size()}), std::invalid_argument);
  CHECK_THROWS_AS(xlm_roberta.decode(std::vector<int>{-1}), std::invalid_argument);

  Tokenizer m2m100 = Tokenizer::load(goldens / "m2m100");
  auto& languages = std::get<M2m100Tokenizer>(m2m100.kind());
  CHECK(languages.language_id("af") == m2m100.size() - 108);
  CHECK(languages.language_id("zu") == m2m100.size() - 9);
  CHECK(m2m100.encode_special("") == std::vector<int>{languages.language_id("en"), 2});
  languages.set_source_language("cs");
  CHECK(m2m100.encode_special("") == std::vector<int>{languages.language_id("cs"), 2});
  CHECK(m2m100.decode(std::vector<int>{languages.language_id("cs"), m2m100.size() - 1, 2}) == "");
  CHECK_THROWS_WITH_AS(languages.set_source_language("cz"),
                       "[m2m100_tokenizer] language must be one of M2M100's 100 but is \"cz\"", std::invalid_argument);
}

TEST_CASE("whitespace is Python's") {
  CHECK(python_strip("\t\x1f \xc2\x85\xe3\x80\x80x \xe2\x80\x8b\xc2\xa0\xe2\x80\xa8") == "x \xe2\x80\x8b");
  CHECK(python_strip(" \xa0") == "\xa0");
  CHECK(python_strip("") == "");
}

TEST_CASE("text is cleaned as ftfy and open_clip clean it") {
  const auto fixed = [](std::string_view text) { return to_utf8(fix_text(to_code_points(text))); };
  CHECK(fixed("") == "");
  CHECK(fixed("âœ” No problems") == "✔ No problems");
  CHECK(fixed("Broken text&hellip; it&#x2019;s ﬂubberiﬁc!") == "Broken text… it's flubberific!");
  CHECK(fixed("ＬＯＵＤ　ＮＯＩＳＥＳ") == "LOUD NOISES");
  CHECK(fixed("P&EACUTE;REZ &ntilde; &nTILDE;") == "PÉREZ ñ &nTILDE;");
  // A '<' is HTML: from its line on, references stay.
  CHECK(fixed("&amp;\n<b> &amp;\n&amp;") == "&\n<b> &amp;\n&amp;");
  CHECK(fixed("\x1b[36;44mblue\x1b[0m\x07") == "blue");
  CHECK(fixed("voilÃ le travail") == "voilà le travail");
  CHECK(fixed("â€œ like this â€\xef\xbf\xbd") == "\" like this \xef\xbf\xbd");
  const auto cleaned = [](std::string_view text) { return to_utf8(clean_for_clip(to_code_points(text))); };
  CHECK(cleaned("  <B>A&amp;amp;B\u00a0 \u3000 ΣΑΣ İ ") == "<b>a&b σας i\u0307");
  CHECK(to_utf8(html_unescape(U"&notit; &#0;&#x80;&#1;&#99999999999; &amp &;")) ==
        "¬it; \xef\xbf\xbd€\xef\xbf\xbd & &;");
}

TEST_CASE("malformed merges are one line with file, line, expected and found") {
  const auto error = [](std::string_view bytes) -> std::string {
    try {
      ClipTokenizer::parse(bytes, "merges.txt");
    } catch (const std::runtime_error& e) {
      return e.what();
    }
    return "no error";
  };
  CHECK(error("#version\ni n\nin g</w>\n") == "no error");
  CHECK(error("") == "merges.txt: expected merges, found none");
  CHECK(error("#version\nin\n") == "merges.txt: line 2: expected two parts of at most 4096 bytes, found one");
  CHECK(error("#version\ni n\ni n\n") == "merges.txt: line 3: expected a new pair, found one for the second time");
  CHECK(error("#version\nin g\n") ==
        "merges.txt: line 2: expected bytes or what a line before has made, found 'in'");
  CHECK(error("#version\ni n g\n") ==
        "merges.txt: line 2: expected bytes or what a line before has made, found 'n g'");
  CHECK(error("#version\na b\nb c\nab c\na bc\n") ==
        "merges.txt: line 5: expected a pair that makes something new, found one that was made before");
  CHECK(error("\x1f\x8b" + std::string(30, 'x')).starts_with("merges.txt: byte "));
  std::ifstream in(goldens / "clip/bpe_simple_vocab_16e6.txt.gz", std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(in), {}};
  for (const std::size_t size : {2, 10, 100, 5000}) {
    CHECK(error(whole.substr(0, size)) ==
          fmt::format("merges.txt: byte {}: expected gzip data, found the end", size));
  }
  CHECK_THROWS_WITH_AS(unpack_gzip(whole, "x.gz", 20000), "x.gz: expected at most 20000 bytes unpacked, found more",
                       std::runtime_error);
}

TEST_CASE("a long word is cut in a moment") {
  const ClipTokenizer clip = ClipTokenizer::load(goldens / "clip/bpe_simple_vocab_16e6.txt.gz");
  CHECK(clip.encode(std::string(1'000'000, 'a')).size() > 100'000);
  CHECK(clip.encode(std::string(100'000, '&')).size() > 10'000);
}

TEST_CASE("a malformed vocabulary is one line that names it") {
  CHECK(read_vocabulary_json(R"({"a": 1, "b": 0})", "vocab.json").at("a") == 1);
  CHECK(error_of("") == "vocab.json: byte 1: expected JSON, found something else");
  CHECK(error_of("{\"a\": 0") == "vocab.json: byte 8: expected JSON, found something else");
  CHECK(error_of("{}") == "vocab.json: expected entries, found none");
  CHECK(error_of("[]") == "vocab.json: expected a JSON object from text to id, found an array");
  CHECK(error_of("7") == "vocab.json: expected a JSON object from text to id, found a number");
  CHECK(error_of(std::string(100000, '[')) == "vocab.json: expected a JSON object from text to id, found an array");
  CHECK(error_of(R"({"a": {"b": 0}})") == "vocab.json: expected an id for 'a', found an object");
  CHECK(error_of(R"({"a": -1})") == "vocab.json: expected an id for 'a', found a negative number");
  CHECK(error_of(R"({"a": 0.5})") == "vocab.json: expected an id for 'a', found a fraction");
  CHECK(error_of(R"({"a": 1})") == "vocab.json: expected every id from 0 to 0 once, found 1 for 'a'");
  CHECK(error_of(R"({"a": 0, "a": 1})") == "vocab.json: expected 'a' once, found it again");
  CHECK(error_of(R"({"a": 99999999999})") == "vocab.json: expected an id below 16777216 for 'a', found 99999999999");
  const auto make = [](std::string_view json) {
    const std::string model = handmade::piece("<unk>", 0, 2) + handmade::piece("a", -1);
    M2m100Tokenizer(SentencePiece::parse(model, "x.model"), json, "vocab.json");
  };
  CHECK_NOTHROW(make(R"({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3})"));
  CHECK_THROWS_WITH_AS(make(R"({"<s>": 0, "<pad>": 1, "</s>": 2})"),
                       "vocab.json: expected an entry for <unk>, found none in 3 entries", std::runtime_error);
}
