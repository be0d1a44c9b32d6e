// The long-tail plot: items per category, on a logarithmic axis.
#pragma once

#include <filesystem>

#include "data/image.h"
#include "data/statistics.h"

namespace weft {

/// DejaVu Sans of the Debian package fonts-dejavu-core.
inline const std::filesystem::path kPlotFont = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";

/// Draws the categories from the most frequent to the rarest: bars for the training items, points for the test items.
/// `title` stands above. Throws std::runtime_error naming the package if the font is missing.
Image long_tail_plot(const Statistics& statistics, const std::string& title,
                     const std::filesystem::path& font = kPlotFont);

}  // namespace weft
