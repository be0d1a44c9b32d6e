#include "data/clip_pixels.h"

#include <algorithm>
#include <cstdint>

#include "tensor/check.h"

namespace weft {
namespace {

/// Python's round(excess / 2): a half goes to the even number.
int half_to_even(int excess) { return excess % 4 == 3 ? excess / 2 + 1 : excess / 2; }

}  // namespace

Image resize_shorter_side(const Image& image, int size, Filter filter) {
  check(image.height > 0 && image.width > 0, "[resize_shorter_side] image must not be empty but is {} x {}",
        image.width, image.height);
  check(size > 0, "[resize_shorter_side] size must be at least 1 but is {}", size);
  const int64_t shorter = std::min(image.height, image.width), longer = std::max(image.height, image.width);
  const int64_t length = size * longer / shorter;
  check(length <= 1 << 20, "[resize_shorter_side] longer side must become at most 1048576 but becomes {}", length);
  const bool upright = image.height >= image.width;
  return resize_pil(image, upright ? static_cast<int>(length) : size, upright ? size : static_cast<int>(length),
                    filter);
}

Image center_crop(const Image& image, int size) {
  check(size > 0 && image.height >= size && image.width >= size,
        "[center_crop] image must be at least {} x {} but is {} x {}", size, size, image.width, image.height);
  const int top = half_to_even(image.height - size), left = half_to_even(image.width - size);
  Image out(size, size);
  for (int y = 0; y < size; ++y) std::copy_n(image.at(top + y, left), size_t{3} * size, out.at(y, 0));
  return out;
}

std::vector<float> clip_pixels(const Image& image, int size) {
  constexpr float mean[3] = {0.48145466f, 0.4578275f, 0.40821073f};
  constexpr float deviation[3] = {0.26862954f, 0.26130258f, 0.27577711f};
  const Image square = center_crop(resize_shorter_side(image, size), size);
  std::vector<float> out(square.pixels.size());
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = (static_cast<float>(square.pixels[i]) / 255.0f - mean[i % 3]) / deviation[i % 3];
  }
  return out;
}

}  // namespace weft
