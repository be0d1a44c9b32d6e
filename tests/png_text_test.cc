// Text chunks in PNG files.
#include "data/png_text.h"

#include <doctest/doctest.h>

#include "data/image.h"

using namespace weft;

TEST_CASE("a text goes into a PNG and comes out again; the picture stays") {
  Image image(3, 5);
  image.at(1, 2)[0] = 7;
  const std::vector<uint8_t> plain = encode_png(image);
  CHECK(!find_png_text(plain, "weft", "plain.png"));
  const std::string text = "{\"text\": \"běžecká bota 👟\"}";
  const std::vector<uint8_t> both = add_png_text(add_png_text(plain, "weftling", "other"), "weft", text);
  CHECK(find_png_text(both, "weft", "both.png") == text);
  CHECK(find_png_text(both, "weftling", "both.png") == "other");
  CHECK(!find_png_text(both, "wef", "both.png"));
  CHECK(decode_image(both, "both.png") == image);
  CHECK(find_png_text(add_png_text(plain, "weft", ""), "weft", "empty.png") == "");
}

namespace {

// A chunk as other programs may write it, right after the IHDR of `png`, with zlib's checksum.
std::vector<uint8_t> with_chunk(const std::vector<uint8_t>& png, const std::string& type_and_body, uint32_t checksum) {
  std::vector<uint8_t> chunk;
  const auto number = [&](size_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) chunk.push_back(static_cast<uint8_t>(value >> shift));
  };
  number(type_and_body.size() - 4);
  chunk.insert(chunk.end(), type_and_body.begin(), type_and_body.end());
  number(checksum);
  std::vector<uint8_t> result = png;
  result.insert(result.begin() + 33, chunk.begin(), chunk.end());
  return result;
}

}  // namespace

TEST_CASE("the chunk is the one that the standard asks for, and other programs' chunks are understood") {
  using namespace std::string_literals;
  const std::vector<uint8_t> plain = encode_png(Image(2, 2));
  CHECK(add_png_text(plain, "weft", "a text") == with_chunk(plain, "iTXtweft\0\0\0\0\0a text"s, 0x53ce79a3));
  // With a language and the keyword in it; compressed ones and other chunks of the keyword are passed by.
  const auto found = [&](const std::string& chunk, uint32_t checksum) {
    return find_png_text(with_chunk(plain, chunk, checksum), "weft", "a.png");
  };
  CHECK(found("iTXtweft\0\0\0cs\0tkanina\0a text"s, 0x1990522c) == "a text");
  CHECK(!found("iTXtweft\0\1\0\0\0a text"s, 0xbc0c129d));
  CHECK(!found("tEXtweft\0\0\0\0\0a text"s, 0xb656386f));
  CHECK(!found("iTXtweft\0\0\0cs"s, 0x7770c0ed));
  CHECK(!found("iTXtweft\0\0\0cs\0tkanina"s, 0x72487368));
  CHECK(!found("iTXtweft"s, 0x4da88d22));
}

TEST_CASE("what lies behind the end chunk is not looked at") {
  using namespace std::string_literals;
  for (const std::string& behind : {"\xff\xff\xff\xffiTXtweft\0\0\0\0\0text"s, "\xff\xff\xff\xffiTXtweft\0\0"s, "\0\0\0\x0diTXtweft\0\0\0\0\0text1234"s}) {
    std::vector<uint8_t> png = encode_png(Image(2, 2));
    png.insert(png.end(), behind.begin(), behind.end());
    CHECK(!find_png_text(png, "weft", "long.png"));
  }
}

TEST_CASE("broken files and keywords") {
  const std::vector<uint8_t> png = add_png_text(encode_png(Image(2, 2)), "weft", "some text");
  for (size_t bytes = 0; bytes < png.size(); ++bytes) {
    CHECK_THROWS(find_png_text({png.begin(), png.begin() + static_cast<std::ptrdiff_t>(bytes)}, "weft", "cut.png"));
  }
  std::vector<uint8_t> changed = png;
  changed[50] ^= 1;
  CHECK_THROWS(find_png_text(changed, "weft", "changed.png"));
  CHECK_THROWS(find_png_text(encode_jpeg(Image(8, 8)), "weft", "a.jpg"));
  CHECK_THROWS(add_png_text(png, "", "text"));
  CHECK_THROWS(add_png_text(png, "běžec", "text"));
  CHECK_THROWS(add_png_text(png, std::string(80, 'k'), "text"));
  CHECK(find_png_text(add_png_text(png, std::string(79, 'k'), "text"), std::string(79, 'k'), "long.png") == "text");
  CHECK_THROWS(add_png_text({1, 2, 3}, "weft", "text"));
}
