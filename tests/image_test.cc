#include "data/image.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>

#include "data/hash.h"
#include "data/orientation.h"
#include "temporary_folder.h"

using namespace weft;

namespace {

const std::string kImages = WEFT_TESTS "/golden/images/";

std::vector<uint8_t> bytes_of(const std::string& name) { return read_file(kImages + name, 1 << 20); }

/// The message of the error that decoding gives.
std::string error_of(const std::vector<uint8_t>& bytes, const ImageLimits& limits = {}) {
  try {
    decode_image(bytes, "x", Alpha::drop, limits);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

/// Replaces bytes at the first place where `from` stands.
std::vector<uint8_t> replaced(std::vector<uint8_t> bytes, std::vector<uint8_t> from, std::vector<uint8_t> to) {
  auto at = std::search(bytes.begin(), bytes.end(), from.begin(), from.end());
  REQUIRE(at != bytes.end());
  std::copy(to.begin(), to.end(), at);
  return bytes;
}

void put(std::vector<uint8_t>& out, uint32_t value) {
  for (int shift : {24, 16, 8, 0}) out.push_back(static_cast<uint8_t>(value >> shift));
}

/// A PNG chunk with its checksum.
void put_chunk(std::vector<uint8_t>& out, const std::string& kind, const std::vector<uint8_t>& data) {
  put(out, static_cast<uint32_t>(data.size()));
  std::vector<uint8_t> body(kind.begin(), kind.end());
  body.insert(body.end(), data.begin(), data.end());
  uint32_t crc = 0xFFFFFFFFu;
  for (uint8_t byte : body) {
    crc ^= byte;
    for (int k = 0; k < 8; ++k) crc = crc & 1 ? 0xEDB88320u ^ crc >> 1 : crc >> 1;
  }
  out.insert(out.end(), body.begin(), body.end());
  put(out, ~crc);
}

/// A PNG of that size in which nothing is wrong but what its data holds.
std::vector<uint8_t> png_of(uint32_t width, uint32_t height, const std::vector<uint8_t>& data) {
  std::vector<uint8_t> header, png = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  put(header, width);
  put(header, height);
  for (uint8_t byte : {8, 2, 0, 0, 0}) header.push_back(byte);
  put_chunk(png, "IHDR", header);
  put_chunk(png, "IDAT", data);
  put_chunk(png, "IEND", {});
  return png;
}

}  // namespace

TEST_CASE("every kind of JPEG and PNG decodes to what PIL makes of it") {
  struct Case {
    const char* name;
    int channels;
  };
  for (const Case& c : {Case{"colour444.jpg", 3}, Case{"colour420.jpg", 3}, Case{"progressive.jpg", 3},
                        Case{"restart.jpg", 3}, Case{"grey.jpg", 1}, Case{"cmyk.jpg", 4},
                        Case{"colour.png", 3}, Case{"grey.png", 1}, Case{"bits.png", 1},
                        Case{"palette.png", 3}, Case{"palette_transparent.png", 3}, Case{"alpha.png", 4},
                        Case{"grey_alpha.png", 2}, Case{"wide.png", 3}, Case{"grey2.png", 1},
                        Case{"grey4.png", 1}, Case{"grey_alpha16.png", 2},
                        Case{"alpha16.png", 4}, Case{"palette4.png", 3}, Case{"grey_key.png", 1},
                        Case{"colour_key.png", 3}, Case{"interlaced.png", 3}}) {
    CAPTURE(std::string(c.name));
    ImageHeader header = check_image(bytes_of(c.name), c.name);
    CHECK(header.width == 24);
    CHECK(header.height == 17);
    CHECK(header.channels == c.channels);
    Image image = read_image(kImages + c.name);
    std::vector<uint8_t> golden = bytes_of(std::string(c.name) + ".rgb");
    REQUIRE(image.pixels.size() == golden.size());
    CHECK(image.pixels == golden);
  }
}

TEST_CASE("EXIF orientation is read and applied as PIL does it") {
  const auto compare = [](const std::string& name, int expected) {
    CAPTURE(name);
    const auto bytes = bytes_of(name);
    CHECK(exif_orientation(bytes) == expected);
    const Image upright = oriented(decode_image(bytes, name), expected);
    CHECK(upright.width == (expected >= 5 ? 17 : 24));
    CHECK(upright.pixels == bytes_of(name + ".rgb"));
    CHECK(read_upright_image(kImages + name) == upright);
  };
  for (int i = 1; i <= 8; ++i) compare(fmt::format("turned{}.jpg", i), i);
  compare("turned9.jpg", 1);
  compare("turned.png", 6);
  CHECK(exif_orientation(bytes_of("colour444.jpg")) == 1);
  CHECK(exif_orientation({}) == 1);
  // Damaged data gives some orientation, never a crash.
  SplitMix random(5);
  for (const char* name : {"turned6.jpg", "turned.png"})
    for (int round = 0; round < 5000; ++round) {
      std::vector<uint8_t> bytes = bytes_of(name);
      bytes.resize(random.below(2) ? bytes.size() : random.below(120));
      for (int k = 0; k < 3 && !bytes.empty(); ++k)
        bytes[random.below(std::min<size_t>(bytes.size(), 120))] = static_cast<uint8_t>(random.below(256));
      const int orientation = exif_orientation(bytes);
      REQUIRE(orientation >= 1);
      REQUIRE(orientation <= 8);
    }
}

TEST_CASE("transparency over white") {
  Image dropped = read_image(kImages + "alpha.png"), white = read_image(kImages + "alpha.png", Alpha::over_white);
  for (int y = 0; y < 17; ++y)
    for (int x = 0; x < 24; ++x)
      for (int c = 0; c < 3; ++c) {
        double alpha = (255 - x * 8) / 255.0;
        REQUIRE(std::abs(white.at(y, x)[c] - (dropped.at(y, x)[c] * alpha + 255 * (1 - alpha))) <= 0.51);
      }
  CHECK(read_image(kImages + "colour.png", Alpha::over_white) == read_image(kImages + "colour.png"));
}

TEST_CASE("what is written is read back") {
  TemporaryFolder folder;
  Image image = read_image(kImages + "colour.png");
  write_image(folder.path() / "a.png", image);
  CHECK(read_image(folder.path() / "a.png") == image);
  write_image(folder.path() / "a.jpg", image, 100);
  Image jpeg = read_image(folder.path() / "a.jpg");
  int worst = 0;
  for (size_t i = 0; i < image.pixels.size(); ++i) worst = std::max(worst, std::abs(jpeg.pixels[i] - image.pixels[i]));
  CHECK(worst <= 8);
  CHECK_THROWS_WITH(write_image(folder.path() / "a.gif", image), doctest::Contains("must end in .png, .jpg or .jpeg"));
  CHECK_THROWS_WITH_AS(write_image(folder.path() / "none" / "a.png", image),
                       doctest::Contains("a.png: cannot be written"), std::runtime_error);
  CHECK_THROWS_WITH(encode_png(Image()), "[encode_png] image must have height * width * 3 bytes but has 0 for 0 x 0");
}

TEST_CASE("files that are no whole picture are refused by name and reason") {
  TemporaryFolder folder;
  CHECK_THROWS_WITH_AS(read_image(folder.path() / "none.jpg"), doctest::Contains("none.jpg: no such file"),
                       std::runtime_error);
  CHECK_THROWS_WITH_AS(read_image(folder.path()), doctest::Contains(": is not a file"), std::runtime_error);
  CHECK_THROWS_WITH_AS(read_image(folder.write("empty.jpg", "")),
                       doctest::Contains("empty.jpg: is empty: a JPEG or PNG was expected"), std::runtime_error);
  CHECK(error_of({'G', 'I', 'F', '8', '9', 'a'}) == "x: is neither JPEG nor PNG: it begins with 47 49 46 38 39 61");

  std::vector<uint8_t> jpeg = bytes_of("colour444.jpg"), png = bytes_of("colour.png");
  // Every truncation is noticed, though decoders fill the rest of a JPEG with grey.
  for (size_t size = 3; size < jpeg.size(); ++size) {
    std::string error = error_of({jpeg.begin(), jpeg.begin() + static_cast<ptrdiff_t>(size)});
    REQUIRE(error.starts_with("x: truncated JPEG: "));
  }
  for (size_t size = 8; size < png.size(); ++size)
    REQUIRE(error_of({png.begin(), png.begin() + static_cast<ptrdiff_t>(size)}).starts_with("x: truncated PNG: "));
  // So is every changed byte of a PNG.
  for (size_t i = 8; i < png.size(); ++i) {
    std::vector<uint8_t> changed = png;
    changed[i] ^= 1;
    REQUIRE(error_of(changed) != "no error");
  }
  CHECK(error_of(png_of(3, 3, {1, 2, 3})).starts_with("x: corrupt PNG: "));
  CHECK(error_of(png_of(0, 3, {1, 2, 3})) == "x: 0 x 3 pixels: a side is zero");
}

TEST_CASE("sizes are checked before anything is allocated") {
  CHECK(error_of(png_of(100000, 100000, {1, 2, 3})) == "x: 100000 x 100000 pixels are more than the 67108864 allowed");
  CHECK(error_of(png_of(8000, 8000, {1, 2, 3})) ==
        "x: 8000 x 8000 pixels do not fit into its 60 bytes: truncated or corrupt");
  CHECK(error_of(png_of(0xFFFFFFFF, 1, {1, 2, 3})) == "x: corrupt PNG: 4294967295 x 1 pixels");
  std::vector<uint8_t> jpeg = bytes_of("colour444.jpg");
  CHECK(
      error_of(replaced(jpeg, {0xFF, 0xC0, 0, 17, 8, 0, 17, 0, 24}, {0xFF, 0xC0, 0, 17, 8, 0xFF, 0xFF, 0xFF, 0xFF})) ==
      "x: 65535 x 65535 pixels are more than the 67108864 allowed");
  CHECK(error_of(replaced(jpeg, {0xFF, 0xC0, 0, 17, 8, 0, 17, 0, 24}, {0xFF, 0xC0, 0, 17, 8, 0x1F, 0xFF, 0x1F, 0xFF}))
            .ends_with("bytes: truncated or corrupt"));
  ImageLimits small;
  small.pixels = 400;
  CHECK(error_of(jpeg, small) == "x: 24 x 17 pixels are more than the 400 allowed");
  small = {};
  small.file_bytes = 100;
  CHECK(error_of(jpeg, small) == fmt::format("x: {} bytes are more than the 100 allowed", jpeg.size()));
}

TEST_CASE("kinds of JPEG that are refused by name") {
  std::vector<uint8_t> jpeg = bytes_of("colour444.jpg");
  size_t at = 0;
  while (jpeg[at] != 0xFF || jpeg[at + 1] != 0xC4) ++at;
  std::vector<uint8_t> crowded = jpeg;
  std::fill_n(crowded.begin() + static_cast<ptrdiff_t>(at) + 5, 16, uint8_t{255});
  CHECK(error_of(crowded) == fmt::format("x: corrupt JPEG: a Huffman table of 4080 symbols at byte {}", at + 4));
  CHECK(error_of(replaced(jpeg, {0xFF, 0xC0, 0, 17, 8}, {0xFF, 0xC0, 0, 17, 12})) ==
        "x: JPEG with 12 bits a sample: only 8 are supported");
  CHECK(error_of(replaced(jpeg, {0xFF, 0xC0, 0, 17, 8}, {0xFF, 0xC3, 0, 17, 8})) ==
        "x: this kind of JPEG (0xC3) is not supported: baseline and progressive are");
  std::vector<uint8_t> cmyk = replaced(bytes_of("cmyk.jpg"), {'A', 'd', 'o', 'b', 'e'}, {'A', 'd', 'o', 'b', 'x'});
  CHECK(error_of(cmyk) == "x: CMYK JPEG without Adobe's marker is not supported: convert it to RGB");
}

TEST_CASE("grey of 16 bits is refused, since PIL leaves white of it") {
  CHECK(error_of(bytes_of("grey16.png")) ==
        "x: grey PNG of 16 bits is not supported, since PIL leaves white of it: convert it to 8 bits");
  const std::vector<uint8_t> white = bytes_of("grey16.png.rgb");
  CHECK(std::count(white.begin(), white.end(), 255) > 1200);
}

TEST_CASE("any mutation of a picture is decoded or refused, never a crash") {
  SplitMix random(3);
  for (const char* name : {"colour444.jpg", "colour420.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg",
                           "palette_transparent.png", "alpha.png", "wide.png", "bits.png"}) {
    const std::vector<uint8_t> good = bytes_of(name);
    int refused = 0;
    constexpr int kRounds = 1500;
    for (int round = 0; round < kRounds; ++round) {
      std::vector<uint8_t> bytes = good;
      for (uint64_t n = 1 + random.below(4); n > 0; --n) {
        size_t at = random.below(bytes.size());
        if (random.below(2))
          bytes[at] = static_cast<uint8_t>(random.below(256));
        else
          bytes[at] ^= static_cast<uint8_t>(1u << random.below(8));
      }
      if (random.below(8) == 0) bytes.resize(random.below(bytes.size()));
      ImageLimits limits;
      limits.pixels = 1 << 16;
      refused += error_of(bytes, limits) != "no error";
    }
    CAPTURE(std::string(name));
    CHECK(refused > kRounds / 10);
  }
}

TEST_CASE("PNG data that is wrong under right checksums is decoded or refused, never a crash") {
  SplitMix random(4);
  std::vector<uint8_t> good = bytes_of("colour.png");
  auto begin = std::search(good.begin(), good.end(), std::begin("IDAT"), std::begin("IDAT") + 4) + 4;
  const std::vector<uint8_t> data(begin, good.end() - 16);
  REQUIRE(error_of(png_of(24, 17, data)) == "no error");
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint8_t> bytes = data;
    for (uint64_t n = 1 + random.below(3); n > 0; --n)
      bytes[random.below(bytes.size())] ^= static_cast<uint8_t>(1u << random.below(8));
    if (random.below(4) == 0) bytes.resize(random.below(bytes.size()));
    refused += error_of(png_of(1 + static_cast<uint32_t>(random.below(40)), 1 + static_cast<uint32_t>(random.below(40)),
                               bytes)) != "no error";
  }
  CHECK(refused > 300);
}
