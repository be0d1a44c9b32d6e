#include "data/pil_resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tensor/check.h"

namespace weft {
namespace {

constexpr int precision_bits = 32 - 8 - 2;

double bilinear(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double lanczos(double x) { return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

struct Kernel {
  double (*value)(double);
  double support;
};

Kernel kernel_of(Filter filter) {
  switch (filter) {
    case Filter::bilinear: return {bilinear, 1.0};
    case Filter::bicubic: return {bicubic, 2.0};
    default: return {lanczos, 3.0};
  }
}

/// What each output of one axis reads: `count[o]` inputs from `first[o]` on, weighted by a row of `weights`.
struct Taps {
  std::vector<int> first, count;
  std::vector<double> weights;  // [outputs, widest]
  int widest = 0;
};

Taps make_taps(int inputs, int outputs, Filter filter) {
  const Kernel kernel = kernel_of(filter);
  const double scale = static_cast<double>(inputs) / outputs;
  const double widening = std::max(scale, 1.0);
  const double support = kernel.support * widening;
  Taps taps;
  taps.widest = std::min(inputs, static_cast<int>(std::ceil(support)) * 2 + 1);
  taps.weights.assign(static_cast<size_t>(outputs) * taps.widest, 0.0);
  for (int o = 0; o < outputs; ++o) {
    const double center = (o + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5));
    const int count = std::min(inputs, static_cast<int>(center + support + 0.5)) - first;
    double* const row = &taps.weights[static_cast<size_t>(o) * taps.widest];
    double sum = 0.0;
    const double narrowing = 1.0 / widening;
    for (int i = 0; i < count; ++i) sum += row[i] = kernel.value((i + first - center + 0.5) * narrowing);
    for (int i = 0; i < count && sum != 0.0; ++i) row[i] /= sum;
    taps.first.push_back(first);
    taps.count.push_back(count);
  }
  return taps;
}

std::vector<int32_t> fixed_point(const std::vector<double>& weights) {
  std::vector<int32_t> fixed(weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    const double scaled = weights[i] * (1 << precision_bits);
    fixed[i] = static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
  }
  return fixed;
}

uint8_t rounded(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> precision_bits, 0, 255)); }

Image resize_rows(const Image& image, int width, Filter filter) {
  const Taps taps = make_taps(image.width, width, filter);
  const std::vector<int32_t> weights = fixed_point(taps.weights);
  Image out(image.height, width);
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < width; ++x) {
      const int32_t* const w = &weights[static_cast<size_t>(x) * taps.widest];
      const uint8_t* const from = image.at(y, taps.first[x]);
      int32_t sum[3] = {1 << (precision_bits - 1), 1 << (precision_bits - 1), 1 << (precision_bits - 1)};
      for (int i = 0; i < taps.count[x]; ++i)
        for (int c = 0; c < 3; ++c) sum[c] += from[3 * i + c] * w[i];
      for (int c = 0; c < 3; ++c) out.at(y, x)[c] = rounded(sum[c]);
    }
  return out;
}

Image resize_columns(const Image& image, int height, Filter filter) {
  const Taps taps = make_taps(image.height, height, filter);
  const std::vector<int32_t> weights = fixed_point(taps.weights);
  Image out(height, image.width);
  const size_t row_size = static_cast<size_t>(image.width) * 3;
  std::vector<int32_t> sums(row_size);
  for (int y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), 1 << (precision_bits - 1));
    for (int i = 0; i < taps.count[y]; ++i) {
      const int32_t w = weights[static_cast<size_t>(y) * taps.widest + i];
      const uint8_t* const from = image.at(taps.first[y] + i, 0);
      for (size_t k = 0; k < row_size; ++k) sums[k] += from[k] * w;
    }
    std::transform(sums.begin(), sums.end(), out.at(y, 0), rounded);
  }
  return out;
}

void check_sides(const Image& image, int height, int width, const char* op) {
  check(image.height > 0 && image.width > 0 && image.pixels.size() == size_t{3} * image.height * image.width,
        "[{}] image must have height * width * 3 bytes but has {} for {} x {}", op, image.pixels.size(), image.width,
        image.height);
  check(height > 0 && width > 0, "[{}] sides must be at least 1 but are {} x {}", op, width, height);
}

}  // namespace

Image resize_pil(const Image& image, int height, int width, Filter filter) {
  check_sides(image, height, width, "resize_pil");
  Image out = image.width == width ? image : resize_rows(image, width, filter);
  return out.height == height ? out : resize_columns(out, height, filter);
}

std::vector<float> resize_tensor(const Image& image, int height, int width, Filter filter) {
  check_sides(image, height, width, "resize_tensor");
  check(filter != Filter::lanczos, "[resize_tensor] filter must be bilinear or bicubic but is {}", "lanczos");
  const Taps across = make_taps(image.width, width, filter), down = make_taps(image.height, height, filter);
  std::vector<float> rows(static_cast<size_t>(image.height) * width * 3);
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < width; ++x)
      for (int i = 0; i < across.count[x]; ++i) {
        const auto w = static_cast<float>(across.weights[static_cast<size_t>(x) * across.widest + i] / 255);
        const uint8_t* const from = image.at(y, across.first[x] + i);
        for (int c = 0; c < 3; ++c) rows[(static_cast<size_t>(y) * width + x) * 3 + c] += w * from[c];
      }
  const size_t row_size = static_cast<size_t>(width) * 3;
  std::vector<float> out(height * row_size);
  for (int y = 0; y < height; ++y)
    for (int i = 0; i < down.count[y]; ++i) {
      const auto w = static_cast<float>(down.weights[static_cast<size_t>(y) * down.widest + i]);
      const float* const from = &rows[(down.first[y] + i) * row_size];
      for (size_t k = 0; k < row_size; ++k) out[y * row_size + k] += w * from[k];
    }
  return out;
}

}  // namespace weft
