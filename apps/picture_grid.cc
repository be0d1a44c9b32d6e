#include "apps/picture_grid.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "data/font.h"
#include "data/plot.h"
#include "tensor/check.h"

namespace weft {

namespace {

constexpr int grid_gap = 4, label_height = 22, label_baseline = 16, label_size = 14;
constexpr int widest_cell = 176;  // to which labels may stretch a column
constexpr Colour label_ink{34, 40, 49};

// The text, or its beginning and an ellipsis if it is wider than `width` pixels.
std::string cut_to(const TextFont& font, std::string text, int width) {
  if (font.width(text) <= width) return text;
  while (!text.empty() && font.width(text + "…") > width) {
    unsigned char last;  // of a code point's bytes, from its last to its first
    do {
      last = static_cast<unsigned char>(text.back());
      text.pop_back();
    } while (!text.empty() && (last & 0xC0) == 0x80);
  }
  return text + "…";
}

}  // namespace

int grid_columns(int64_t count) {
  return std::max(1, static_cast<int>(std::ceil(std::sqrt(1.6 * static_cast<double>(count)))));
}

Image picture_grid(const std::vector<Image>& pictures, int columns, const std::vector<std::string>& labels) {
  check(columns > 0, "[picture_grid] there must be at least one column but there are {}", columns);
  int height = 0, width = 0;
  for (const Image& p : pictures) height = std::max(height, p.height), width = std::max(width, p.width);
  const int rows = (static_cast<int>(pictures.size()) + columns - 1) / columns;
  const int label = labels.empty() ? 0 : label_height;
  const bool each = !labels.empty() && labels.size() == pictures.size();
  std::optional<TextFont> font;
  if (label > 0) font.emplace(kPlotFont, label_size);
  int cell = width, least_width = 0;
  for (const std::string& text : labels) {
    if (each && columns > 1) {
      cell = std::max(cell, std::min(font->width(text), widest_cell));
    } else {
      least_width = std::max(least_width, font->width(text) + 2 * grid_gap);
    }
  }
  Image grid(rows * (height + grid_gap + label) + grid_gap, std::max(columns * (cell + grid_gap) + grid_gap, least_width));
  for (size_t i = 0; i < pictures.size(); ++i) {
    const int row = static_cast<int>(i) / columns, column = static_cast<int>(i) % columns;
    const int top = grid_gap + row * (height + grid_gap + label), left = grid_gap + column * (cell + grid_gap);
    const int inset = (cell - pictures[i].width) / 2;
    for (int y = 0; y < pictures[i].height; ++y) {
      std::copy_n(pictures[i].at(y, 0), 3 * pictures[i].width, grid.at(top + y, left + inset));
    }
    const int baseline = top + height + label_baseline;
    if (each && columns > 1) {
      const std::string text = cut_to(*font, labels[i], cell);
      font->draw(grid, left + (cell - font->width(text)) / 2, baseline, text, label_ink);
    } else if (column == 0 && static_cast<size_t>(row) < labels.size()) {
      font->draw(grid, left, baseline, labels[row], label_ink);
    }
  }
  return grid;
}

}  // namespace weft
