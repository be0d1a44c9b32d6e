#include "data/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "data/font.h"
#include "tensor/check.h"

namespace weft {
namespace {

constexpr Colour kInk{34, 40, 49}, kFaint{226, 229, 233}, kGrey{110, 117, 126}, kBar{62, 124, 177},
    kPoint{232, 121, 43};
constexpr int kLeft = 96, kRight = 36, kTop = 96, kPlotHeight = 520, kPitch = 16, kGap = 8;

void fill(Image& image, int x0, int y0, int x1, int y1, Colour colour) {
  for (int y = std::max(0, y0); y < std::min(image.height, y1); ++y)
    for (int x = std::max(0, x0); x < std::min(image.width, x1); ++x)
      std::copy(colour.begin(), colour.end(), image.at(y, x));
}

/// A filled circle, its edge smoothed by 4x4 samples a pixel.
void disc(Image& image, double cx, double cy, double radius, Colour colour) {
  int reach = static_cast<int>(std::ceil(radius)) + 1;
  for (int y = static_cast<int>(cy) - reach; y <= static_cast<int>(cy) + reach; ++y)
    for (int x = static_cast<int>(cx) - reach; x <= static_cast<int>(cx) + reach; ++x) {
      if (y < 0 || x < 0 || y >= image.height || x >= image.width) continue;
      int inside = 0;
      for (int s = 0; s < 16; ++s)
        inside += std::hypot(x + (s % 4 + 0.5) / 4 - cx, y + (s / 4 + 0.5) / 4 - cy) <= radius;
      for (int c = 0; c < 3; ++c)
        image.at(y, x)[c] = static_cast<uint8_t>((image.at(y, x)[c] * (16 - inside) + colour[c] * inside) / 16);
    }
}

/// 12345 as "12,345".
std::string grouped(int64_t n) {
  std::string digits = std::to_string(n);
  for (int i = static_cast<int>(digits.size()) - 3; i > 0; i -= 3) digits.insert(static_cast<size_t>(i), 1, ',');
  return digits;
}

}  // namespace

Image long_tail_plot(const Statistics& statistics, const std::string& title, const std::filesystem::path& font) {
  std::error_code error;
  check_input(std::filesystem::exists(font, error), "{}: not found: install the Debian package fonts-dejavu-core",
              font.string());
  TextFont heading(font, 26), axis(font, 15), label(font, 12);
  const auto& categories = statistics.categories;
  int n = static_cast<int>(categories.size());
  check(n > 0 && statistics.all.items > 0, "[long_tail_plot] there must be an item but there is none");
  int64_t most = 1, least = std::numeric_limits<int64_t>::max();
  int label_width = 0;
  for (const CategoryCount& c : categories) {
    most = std::max({most, c.train, c.test});
    for (int64_t count : {c.train, c.test})
      if (count > 0) least = std::min(least, count);
    label_width = std::max(label_width, label.width(c.name));
  }
  label_width = std::min(label_width, 320);
  int plot_width = std::max(n * kPitch, 640);
  double pitch = static_cast<double>(plot_width) / n;
  Image image(kTop + kPlotHeight + kGap + label_width + 56, kLeft + plot_width + kRight);
  int bottom = kTop + kPlotHeight;

  // From just below the power of ten under the rarest, so that its bar still shows, to the next of 1, 2, 5 times one.
  double low = std::pow(10.0, std::floor(std::log10(static_cast<double>(least)))), top = low;
  for (double power = low; top < static_cast<double>(most); power *= 10)
    for (double step : {2.0, 5.0, 10.0})
      if (top < static_cast<double>(most)) top = step * power;
  double floor = low * 0.8;
  auto height_of = [&](double value) {
    return bottom - static_cast<int>(std::lround(std::log(value / floor) / std::log(top / floor) * kPlotHeight));
  };
  for (double power = low; power <= top; power *= 10)
    for (int step : {1, 2, 5}) {
      double value = step * power;
      if (value > top) continue;
      int y = height_of(value);
      fill(image, kLeft, y, kLeft + plot_width, y + 1, kFaint);
      std::string text = grouped(static_cast<int64_t>(value));
      axis.draw(image, kLeft - 10 - axis.width(text), y + 5, text, step == 1 ? kInk : kGrey);
    }

  for (int i = 0; i < n; ++i) {
    const CategoryCount& c = categories[i];
    int x0 = kLeft + static_cast<int>(std::lround(i * pitch)),
        x1 = kLeft + static_cast<int>(std::lround((i + 1) * pitch));
    int inset = std::max(1, static_cast<int>(pitch * 0.14));
    if (c.train > 0) fill(image, x0 + inset, height_of(static_cast<double>(c.train)), x1 - inset, bottom, kBar);
    if (c.test > 0) disc(image, (x0 + x1) / 2.0, height_of(static_cast<double>(c.test)) + 0.5, 3.6, kPoint);
    std::string name = c.name;
    while (label.width(name) > label_width) name.pop_back();
    label.draw_upward(image, (x0 + x1) / 2 + 4, bottom + kGap + label.width(name), name, kInk);
  }
  fill(image, kLeft - 1, kTop, kLeft, bottom + 1, kInk);
  fill(image, kLeft - 1, bottom, kLeft + plot_width, bottom + 1, kInk);

  heading.draw(image, kLeft, 44, title, kInk);
  int x = kLeft;
  fill(image, x, 62, x + 14, 76, kBar);
  std::string train = fmt::format("train ({} items)", grouped(statistics.train.items));
  axis.draw(image, x + 22, 75, train, kInk);
  x += 22 + axis.width(train) + 32;
  disc(image, x + 5, 69, 5, kPoint);
  axis.draw(image, x + 18, 75, fmt::format("test ({} items)", grouped(statistics.test.items)), kInk);
  std::string y_label = "items, logarithmic scale",
              x_label = fmt::format("{} categories, most training items first", n);
  axis.draw_upward(image, 22, kTop + (kPlotHeight + axis.width(y_label)) / 2, y_label, kInk);
  axis.draw(image, kLeft + (plot_width - axis.width(x_label)) / 2, image.height - 18, x_label, kInk);
  return image;
}

}  // namespace weft
