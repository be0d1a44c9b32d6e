#include "data/resize.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"

namespace weft {
namespace {

/// Blur and interpolation are both linear, so one axis is one band matrix: output o reads `count[o]` inputs from
/// `first[o]` on.
struct Band {
  std::vector<int> first, count;
  std::vector<float> weights;  // [outputs, widest]
  int widest = 0;
};

/// Position after mirroring at 0 and n - 1 without repeating them.
int mirror(int64_t i, int n) {
  if (n == 1) return 0;
  int64_t period = 2 * (static_cast<int64_t>(n) - 1);
  i = std::abs(i) % period;
  return static_cast<int>(i < n ? i : period - i);
}

Band make_band(int inputs, int outputs, double scale) {
  double factor = static_cast<double>(inputs) / outputs;
  double sigma = std::max(0.0, (factor - 1) / 2);
  int radius = static_cast<int>(4 * sigma + 0.5);
  std::vector<double> kernel(static_cast<size_t>(2 * radius + 1), 1.0);
  double sum = 0;
  for (int k = -radius; k <= radius; ++k)
    sum += kernel[k + radius] = sigma > 0 ? std::exp(-0.5 * k * k / (sigma * sigma)) : 1;

  Band band;
  band.widest = std::min(inputs, 2 * radius + 2);
  band.weights.assign(static_cast<size_t>(outputs) * band.widest, 0.0f);
  std::vector<double> row(static_cast<size_t>(band.widest));
  for (int o = 0; o < outputs; ++o) {
    double at = (o + 0.5) * factor - 0.5;
    if (inputs == 1) at = 0;
    if (at < 0) at = -at;
    if (at > inputs - 1) at = std::max(0.0, 2.0 * (inputs - 1) - at);
    int left = std::min(static_cast<int>(at), std::max(0, inputs - 2));  // so that left + 1 is an input too
    double fraction = at - left;
    int first = std::max(0, left - radius), last = std::min(inputs - 1, left + 1 + radius);
    std::fill(row.begin(), row.end(), 0.0);
    for (int k = -radius; k <= radius; ++k)
      for (int side = 0; side < 2; ++side)
        row[mirror(int64_t{left} + side + k, inputs) - first] +=
            kernel[k + radius] / sum * (side ? fraction : 1 - fraction);
    band.first.push_back(first);
    band.count.push_back(last - first + 1);
    for (int i = 0; i <= last - first; ++i)
      band.weights[static_cast<size_t>(o) * band.widest + i] = static_cast<float>(row[i] * scale);
  }
  return band;
}

}  // namespace

std::vector<float> resize_bilinear_antialias(const Image& image, int height, int width) {
  check(image.height > 0 && image.width > 0 && image.pixels.size() == size_t{3} * image.height * image.width,
        "[resize] image must have height * width * 3 bytes but has {} for {} x {}", image.pixels.size(), image.width,
        image.height);
  check(height > 0 && width > 0, "[resize] sides must be at least 1 but are {} x {}", width, height);
  Band down = make_band(image.height, height, 1.0 / 255), across = make_band(image.width, width, 1.0);
  std::vector<float> out(static_cast<size_t>(height) * width * 3);
  size_t row_size = static_cast<size_t>(image.width) * 3;
  std::vector<float> row(row_size + 1);  // one more: a pixel is read as 4 floats below
  for (int y = 0; y < height; ++y) {
    std::fill(row.begin(), row.end(), 0.0f);
    for (int k = 0; k < down.count[y]; ++k) {
      float weight = down.weights[static_cast<size_t>(y) * down.widest + k];
      const uint8_t* in = image.at(down.first[y] + k, 0);
      for (size_t i = 0; i < row_size; ++i) row[i] += weight * static_cast<float>(in[i]);
    }
    float* to = &out[static_cast<size_t>(y) * width * 3];
    for (int x = 0; x < width; ++x, to += 3) {
      const float* weights = &across.weights[static_cast<size_t>(x) * across.widest];
      const float* from = &row[static_cast<size_t>(across.first[x]) * 3];
      float sum[4] = {};
      for (int k = 0; k < across.count[x]; ++k, from += 3)
        for (int c = 0; c < 4; ++c) sum[c] += weights[k] * from[c];
      std::copy(sum, sum + 3, to);
    }
  }
  return out;
}

Image resize_image(const Image& image, int height, int width) {
  if (image.height == height && image.width == width) return image;
  std::vector<float> values = resize_bilinear_antialias(image, height, width);
  Image out(height, width);
  for (size_t i = 0; i < values.size(); ++i)
    out.pixels[i] = static_cast<uint8_t>(std::clamp(values[i] * 255.0f + 0.5f, 0.0f, 255.0f));
  return out;
}

}  // namespace weft
