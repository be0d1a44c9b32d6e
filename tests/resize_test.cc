// The resize against goldens of skimage.transform.resize (tests/golden/make_resize.py).
#include "data/resize.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

using namespace weft;

namespace {

struct Case {
  int height, width, to_height, to_width;
};
constexpr Case kCases[] = {{129, 137, 64, 64}, {64, 64, 37, 101}, {31, 29, 64, 50}, {300, 231, 29, 22}, {5, 7, 13, 3},
                           {1, 9, 4, 4},       {50, 40, 3, 2},    {40, 33, 33, 40}, {64, 64, 16, 16}};

Image picture(int height, int width) {
  Image image(height, width);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c)
        image.at(y, x)[c] =
            static_cast<uint8_t>((x * 7 + y * 13 + c * 31 + (x * y) % 17 * 9 + (x * x + y * 3) / 4) % 256);
  return image;
}

}  // namespace

TEST_CASE("resize equals skimage's") {
  std::vector<uint8_t> file = read_file(WEFT_TESTS "/golden/resize.bin", 1 << 20);
  size_t at = 0;
  for (const Case& c : kCases) {
    CAPTURE(c.height);
    CAPTURE(c.width);
    Image image = picture(c.height, c.width);
    std::vector<float> values = resize_bilinear_antialias(image, c.to_height, c.to_width);
    Image rounded = resize_image(image, c.to_height, c.to_width);
    std::vector<float> golden(values.size());
    REQUIRE(at + golden.size() * 4 <= file.size());
    std::memcpy(golden.data(), &file[at], golden.size() * 4);
    at += golden.size() * 4;
    float worst = 0, worst_rounded = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      worst = std::max(worst, std::abs(values[i] - golden[i]));
      worst_rounded = std::max(worst_rounded, std::abs(static_cast<float>(rounded.pixels[i]) / 255 - golden[i]));
    }
    MESSAGE(c.height, "x", c.width, " to ", c.to_height, "x", c.to_width, ": worst difference ", worst);
    CHECK(worst <= 2e-6f);
    CHECK(worst_rounded <= 0.51f / 255);
  }
  CHECK(at == file.size());
}

TEST_CASE("resize keeps a flat picture flat and an equal size equal") {
  for (float value : resize_bilinear_antialias(Image(37, 51, 77), 16, 90))
    REQUIRE(std::abs(value - 77.0f / 255) < 1e-6f);
  Image image = picture(20, 30);
  CHECK(resize_image(image, 20, 30) == image);
  std::vector<float> values = resize_bilinear_antialias(image, 20, 30);
  for (size_t i = 0; i < values.size(); ++i)
    REQUIRE(std::abs(values[i] - static_cast<float>(image.pixels[i]) / 255) < 1e-6f);
  CHECK_THROWS_WITH(resize_image(image, 0, 5), "[resize] sides must be at least 1 but are 5 x 0");
}
