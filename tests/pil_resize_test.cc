// Resizing and CLIP's preprocessing against Pillow and torchvision, in sizes that are odd in every way.
#include "data/pil_resize.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "data/clip_pixels.h"

using namespace weft;

namespace {

/// make_pil_resize.py's picture of a seed.
Image picture(uint32_t seed, int height, int width) {
  Image image(height, width);
  for (size_t i = 0; i < image.pixels.size(); ++i) {
    uint32_t x = seed * 2654435761u + static_cast<uint32_t>(i) * 2246822519u;
    x ^= x >> 15;
    const uint32_t value = (x * 0x2c1b3c6du) >> 24;
    image.pixels[i] = static_cast<uint8_t>(seed % 2 ? value : value > 127 ? 255 : 0);
  }
  return image;
}

float worst_difference(const std::vector<float>& got, const float* expected) {
  float worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const float difference = std::abs(got[i] - expected[i]);
    worst = difference <= worst ? worst : difference;
  }
  return worst;
}

}  // namespace

TEST_CASE("Pillow's bytes, torchvision's and CLIP's values") {
  const std::vector<uint8_t> golden = read_file(WEFT_TESTS "/golden/pil_resize.bin", 1 << 20);
  int cases = 0;
  for (size_t at = 0; at < golden.size(); ++cases) {
    int32_t head[6];
    std::memcpy(head, &golden[at], sizeof head);
    at += sizeof head;
    const auto [seed, height, width, new_height, new_width, kind] = head;
    CAPTURE(height);
    CAPTURE(width);
    CAPTURE(new_height);
    CAPTURE(new_width);
    CAPTURE(kind);
    const Image image = picture(static_cast<uint32_t>(seed), height, width);
    const size_t values = size_t{3} * new_height * new_width;
    if (kind < 3) {
      const Image got = resize_pil(image, new_height, new_width, static_cast<Filter>(kind));
      REQUIRE(got.pixels.size() == values);
      CHECK(std::equal(got.pixels.begin(), got.pixels.end(), &golden[at]));
      at += values;
      continue;
    }
    std::vector<float> expected(values);
    std::memcpy(expected.data(), &golden[at], values * sizeof(float));
    at += values * sizeof(float);
    if (kind == 5) {
      CHECK(clip_pixels(image, new_height) == expected);
    } else {
      const std::vector<float> got = resize_tensor(image, new_height, new_width, static_cast<Filter>(kind - 3));
      const float worst = worst_difference(got, expected.data());
      CHECK(worst <= 1e-5f);
    }
  }
  CHECK(cases == 72);
}

TEST_CASE("GLAMI's 228 x 298 becomes 224 x 292, and rows 34 to 257 of it") {
  const Image image = picture(1, 298, 228);
  const Image resized = resize_shorter_side(image, 224);
  CHECK(resized.width == 224);
  CHECK(resized.height == 292);
  const Image square = center_crop(resized, 224);
  CHECK(std::equal(square.pixels.begin(), square.pixels.end(), resized.at(34, 0)));
}

TEST_CASE("half a pixel of a crop goes to the even side") {
  const Image image = picture(1, 5, 7);
  CHECK(*center_crop(image, 4).at(0, 0) == *image.at(0, 2));  // 1 / 2 -> 0, 3 / 2 -> 2
  CHECK(*center_crop(image, 2).at(0, 0) == *image.at(2, 2));  // 3 / 2 -> 2, 5 / 2 -> 2
}

TEST_CASE("sizes that cannot be are refused") {
  const Image image(4, 4);
  CHECK_THROWS_WITH(resize_pil(image, 0, 4, Filter::bicubic), "[resize_pil] sides must be at least 1 but are 4 x 0");
  CHECK_THROWS_WITH(resize_pil(Image(), 4, 4, Filter::bicubic),
                    "[resize_pil] image must have height * width * 3 bytes but has 0 for 0 x 0");
  CHECK_THROWS_WITH(resize_tensor(image, 2, 2, Filter::lanczos),
                    "[resize_tensor] filter must be bilinear or bicubic but is lanczos");
  CHECK_THROWS_WITH(center_crop(image, 5), "[center_crop] image must be at least 5 x 5 but is 4 x 4");
  CHECK_THROWS_WITH(resize_shorter_side(Image(1, 10000), 224),
                    "[resize_shorter_side] longer side must become at most 1048576 but becomes 2240000");
}
