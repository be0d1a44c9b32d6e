#include "apps/loss_curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>

#include "data/font.h"
#include "data/plot.h"
#include "tensor/atomic_file.h"
#include "tensor/check.h"

namespace weft {

namespace {

constexpr int width = 900, height = 480, left = 84, right = 24, top = 60, bottom = 56;
constexpr Colour ink{34, 40, 49}, faint{226, 229, 233}, grey{150, 156, 163};
constexpr std::array<Colour, 4> line_colours{{{62, 124, 177}, {232, 121, 43}, {80, 160, 90}, {170, 80, 150}}};
constexpr const char* csv_header = "step,unet,loss,zero_loss";

void dot(Image& image, double x, double y, int radius, Colour colour) {
  const int cx = static_cast<int>(std::lround(x)), cy = static_cast<int>(std::lround(y));
  for (int j = cy - radius; j <= cy + radius; ++j) {
    for (int i = cx - radius; i <= cx + radius; ++i) {
      if (j >= 0 && i >= 0 && j < image.height && i < image.width)
        std::copy(colour.begin(), colour.end(), image.at(j, i));
    }
  }
}

void line(Image& image, double x0, double y0, double x1, double y1, int radius, Colour colour) {
  const int count = std::max(1, static_cast<int>(std::max(std::abs(x1 - x0), std::abs(y1 - y0))));
  for (int i = 0; i <= count; ++i) {
    dot(image, x0 + (x1 - x0) * i / count, y0 + (y1 - y0) * i / count, radius, colour);
  }
}

}  // namespace

void save_losses(const std::filesystem::path& file, const std::vector<LossPoint>& points) {
  std::string text = fmt::format("{}\n", csv_header);
  for (const LossPoint& p : points) text += fmt::format("{},{},{:.6g},{:.6g}\n", p.step, p.unet, p.loss, p.zero_loss);
  write_file_atomically(file, text);
}

std::vector<LossPoint> load_losses(const std::filesystem::path& file, int64_t last_step) {
  std::ifstream in(file);
  std::vector<LossPoint> points;
  std::string text;
  for (int64_t number = 0; std::getline(in, text); ++number) {
    if (number == 0) continue;
    LossPoint p;
    const bool read = std::sscanf(text.c_str(), "%ld,%ld,%lf,%lf", &p.step, &p.unet, &p.loss, &p.zero_loss) == 4;
    check_input(read && p.unet >= 0 && p.loss > 0 && p.zero_loss > 0, "{}: line {}: '{}' was expected but it is {}",
                file.string(), number + 1, csv_header, quote(text));
    if (p.step <= last_step) points.push_back(p);
  }
  return points;
}

Image loss_plot(const std::vector<LossPoint>& points, const std::string& title) {
  check(!points.empty(), "[loss_plot] there must be a point");
  Image image(height, width);
  const TextFont heading(kPlotFont, 18), axis(kPlotFont, 13);
  heading.draw(image, left, 30, title, ink);
  double low = points[0].loss, high = points[0].loss;
  int64_t steps = 1;
  for (const LossPoint& p : points) {
    low = std::min({low, p.loss, p.zero_loss});
    high = std::max({high, p.loss, p.zero_loss});
    steps = std::max(steps, p.step);
  }
  low *= 0.9, high *= 1.1;
  const auto x_of = [&](double step) { return left + (width - left - right) * step / static_cast<double>(steps); };
  const auto y_of = [&](double loss) {
    return height - bottom - (height - top - bottom) * std::log(loss / low) / std::log(high / low);
  };
  for (double power = std::pow(10, std::floor(std::log10(low))); power < high; power *= 10) {
    for (const double step : {1.0, 2.0, 5.0}) {
      const double value = power * step;
      if (value < low || value > high) continue;
      line(image, left, y_of(value), width - right, y_of(value), 0, faint);
      const std::string text = fmt::format("{:g}", value);
      axis.draw(image, left - 8 - axis.width(text), static_cast<int>(y_of(value)) + 5, text, ink);
    }
  }
  for (int i = 0; i <= 4; ++i) {
    const std::string text = fmt::format("{}", steps * i / 4);
    axis.draw(image, static_cast<int>(x_of(static_cast<double>(steps * i / 4))) - axis.width(text) / 2, height - 30,
              text, ink);
  }
  axis.draw(image, width - right - axis.width("steps"), height - 10, "steps", ink);
  for (int64_t unet = 0; unet < static_cast<int64_t>(line_colours.size()); ++unet) {
    const LossPoint* before = nullptr;
    for (const LossPoint& p : points) {
      if (p.unet != unet) continue;
      dot(image, x_of(static_cast<double>(p.step)), y_of(p.zero_loss), 1, grey);
      if (before) {
        line(image, x_of(static_cast<double>(before->step)), y_of(before->loss), x_of(static_cast<double>(p.step)),
             y_of(p.loss), 1, line_colours[unet]);
      }
      before = &p;
    }
    if (!before) continue;
    const int x = left + 140 * static_cast<int>(unet);
    line(image, x, 46, x + 20, 46, 1, line_colours[unet]);
    axis.draw(image, x + 28, 51, fmt::format("UNet {}", unet), ink);
  }
  axis.draw(image, width - right - axis.width("dotted: predicting zeros"), 51, "dotted: predicting zeros", grey);
  line(image, left, top, left, height - bottom, 0, ink);
  line(image, left, height - bottom, width - right, height - bottom, 0, ink);
  return image;
}

}  // namespace weft
