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
  CHECK_THROWS(add_png_text({1, 2, 3}, "weft", "text"));
}
