// Pictures side by side with labels.
#pragma once

#include <string>
#include <vector>

#include "data/image.h"

namespace weft {

/// Pictures on white, `columns` a row, all of one size. `labels`: none; one a picture, which stands below it and is cut
/// to the width of its cell; or one a row, which stands under the row's beginning. A missing picture (no pixels) stays
/// white.
Image picture_grid(const std::vector<Image>& pictures, int columns, const std::vector<std::string>& labels = {});

/// Columns that make a grid of `count` pictures a little wider than high.
int grid_columns(int64_t count);

}  // namespace weft
