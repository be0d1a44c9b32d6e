#include "data/csv.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include "data/hash.h"
#include "data/utf8.h"
#include "temporary_folder.h"

using namespace weft;

namespace {

using Rows = std::vector<std::vector<std::string>>;

Rows read_all(const std::filesystem::path& file) {
  CsvReader csv(file);
  Rows rows = {csv.header()};
  while (csv.next()) {
    rows.emplace_back();
    for (size_t i = 0; i < csv.size(); ++i) rows.back().emplace_back(csv[i]);
  }
  return rows;
}

/// The message of the error that reading `text` gives, without the folder.
std::string error_of(const TemporaryFolder& folder, std::string_view text) {
  try {
    read_all(folder.write("t.csv", text));
  } catch (const std::runtime_error& error) {
    std::string message = error.what(), prefix = folder.path().string() + "/";
    REQUIRE(message.starts_with(prefix));
    return message.substr(prefix.size());
  }
  return "no error";
}

}  // namespace

TEST_CASE("fields, quotes, line ends") {
  TemporaryFolder folder;
  auto rows = [&](std::string_view text) { return read_all(folder.write("t.csv", text)); };
  CHECK(rows("a,b\n1,2\n") == Rows{{"a", "b"}, {"1", "2"}});
  CHECK(rows("a,b\n1,2") == Rows{{"a", "b"}, {"1", "2"}});
  CHECK(rows("a,b\r\n1,2\r\n3,4\r\n") == Rows{{"a", "b"}, {"1", "2"}, {"3", "4"}});
  CHECK(rows("a,b\r1,2\r") == Rows{{"a", "b"}, {"1", "2"}});
  CHECK(rows("\xEF\xBB\xBF"
             "a,b\n1,2\n") == Rows{{"a", "b"}, {"1", "2"}});
  CHECK(rows("a,b\n,\n") == Rows{{"a", "b"}, {"", ""}});
  CHECK(rows("a,b\n\"\",\"\"\n") == Rows{{"a", "b"}, {"", ""}});
  CHECK(rows("a,b\n\n1,2\n\n\n") == Rows{{"a", "b"}, {"1", "2"}});
  CHECK(rows("a,b\n\"x, y\",\"he said \"\"no\"\"\"\n") == Rows{{"a", "b"}, {"x, y", "he said \"no\""}});
  CHECK(rows("a,b\n\"two\nlines\",\"three\r\n\r\nlines\"\n") == Rows{{"a", "b"}, {"two\nlines", "three\r\n\r\nlines"}});
  CHECK(rows("\"a\",\"b\"\n\"\"\"\",2\n") == Rows{{"a", "b"}, {"\"", "2"}});
  CHECK(rows("a\n\"\"\n") == Rows{{"a"}, {""}});
  CHECK(rows("a,b\nžluťoučký,кон\n") == Rows{{"a", "b"}, {"žluťoučký", "кон"}});
}

TEST_CASE("what is no CSV is named with its row and line") {
  TemporaryFolder folder;
  CHECK(error_of(folder, "") == "t.csv: is empty: a header line was expected");
  CHECK(error_of(folder, "\n\n") == "t.csv: is empty: a header line was expected");
  CHECK(error_of(folder, "a,b,a\n") == "t.csv: header: column 'a' is there twice");
  CHECK(error_of(folder, "\"a\n\x1b\",b,\"a\n\x1b\"\n") == "t.csv: header: column 'a\\x0a\\x1b' is there twice");
  CHECK(error_of(folder, "a,b,c\n1,2,3\n\"x\ny\",2\n") == "t.csv: row 2 (line 3): 2 fields where the header has 3");
  CHECK(error_of(folder, "a,b\n\"x\ny\",2\n1,2,3\n") == "t.csv: row 2 (line 4): 3 fields where the header has 2");
  CHECK(error_of(folder, "a,b\n1,2\n3,\"4\n5,6\n") == "t.csv: row 2 (line 3): field 2: the quote is never closed");
  CHECK(error_of(folder, "a,\"b\n1,2\n") == "t.csv: header (line 1): field 2: the quote is never closed");
  CHECK(error_of(folder, "a,b\n\"1\"x,2\n") == "t.csv: row 1 (line 2): field 1: text after a closing quote");
  CHECK(error_of(folder, "a,b\n1,x\"y\"\n") ==
        "t.csv: row 1 (line 2): field 2: a quote inside a field that does not begin with one");
  CHECK(error_of(folder, std::string_view("a,b\n1,\0\n", 8)) == "t.csv: row 1 (line 2): field 2: a NUL byte");
  CHECK(error_of(folder, "a,b\n1,\xC3(\n") == "t.csv: row 1 (line 2): field 2: invalid UTF-8");
  CHECK(error_of(folder, "a,b\n1,\"" + std::string((1 << 20) + 1, 'x')) ==
        "t.csv: row 1 (line 2): field 2: no closing quote within 1 MiB");
  CHECK(error_of(folder, "a,b\n1," + std::string((1 << 20) + 1, 'x')) ==
        "t.csv: row 1 (line 2): field 2: the record is above 1 MiB");
  CHECK_THROWS_WITH_AS(CsvReader(folder.path() / "none.csv"), doctest::Contains("none.csv: cannot be opened"),
                       std::runtime_error);
  CHECK_THROWS_WITH_AS(CsvReader(folder.path()), doctest::Contains(": is not a file"), std::runtime_error);
  CsvReader csv(folder.write("t.csv", "a,b\n"));
  CHECK(csv.column("b") == 1);
  CHECK_THROWS_WITH_AS(csv.column("c"), doctest::Contains("t.csv: header: column \"c\" is missing; it has 'a','b'"),
                       std::runtime_error);
}

TEST_CASE("what was written is read back, across the reader's blocks") {
  TemporaryFolder folder;
  SplitMix random(5);
  const std::vector<std::string> pieces = {"a", "bc", ",", "\"", "\n", "\r\n", "ž", "猫", "🧵", " ", "plain text "};
  Rows rows = {{"first", "second", "third"}};
  size_t bytes = 0;
  while (bytes < (size_t{3} << 20)) {
    rows.emplace_back(3);
    for (std::string& field : rows.back()) {
      for (uint64_t n = random.below(40); n > 0; --n) field += pieces[random.below(pieces.size())];
      bytes += field.size();
    }
  }
  CsvWriter writer(folder.path() / "w.csv");
  for (const auto& row : rows) writer.write({row.begin(), row.end()});
  writer.close();
  CHECK(read_all(folder.path() / "w.csv") == rows);
}

TEST_CASE("a writer that cannot write says so") {
  TemporaryFolder folder;
  CHECK_THROWS_WITH_AS(CsvWriter(folder.path() / "none" / "w.csv"), doctest::Contains("w.csv: cannot be written"),
                       std::runtime_error);
  if (std::filesystem::exists("/dev/full")) {
    CsvWriter full("/dev/full");
    std::string_view field = "some text";
    CHECK_THROWS_WITH_AS(
        [&] {
          for (int i = 0; i < 100000; ++i) full.write({field});
          full.close();
        }(),
        doctest::Contains("/dev/full: cannot be written: No space left on device"), std::runtime_error);
  }
}

TEST_CASE("any mutation of a CSV is read or refused, never a crash") {
  TemporaryFolder folder;
  const std::string good = "a,b,c\n1,\"x, \"\"y\"\"\",žluť\r\n2,\"two\nlines\",\n3,,\"\"\n";
  SplitMix random(1);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = good;
    for (uint64_t n = random.below(4); n > 0; --n)
      text[random.below(text.size())] = static_cast<char>(random.below(256));
    if (random.below(2)) text.resize(random.below(text.size() + 1));
    refused += error_of(folder, text) != "no error";
  }
  CHECK(refused > 500);
  CHECK(refused < 3000);
}

TEST_CASE("valid and invalid UTF-8") {
  for (char32_t c :
       {U'\0', U'\x7F', U'\x80', U'\x7FF', U'\x800', U'\xD7FF', U'\xE000', U'\xFFFF', U'\x10000', U'\x10FFFF'})
    CHECK(find_invalid_utf8(utf8(c)) == std::string::npos);
  CHECK(utf8(U"aé猫🧵") == "aé猫🧵");
  for (std::string_view bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80", "\xFF", "\xC3", "\xE7\x8C", "\xF0\x9F\xA7", "\xE7\x8C("})
    CHECK(find_invalid_utf8(bad) == 0);
  CHECK(find_invalid_utf8("eight letters and then \xFF") == 23);
}
