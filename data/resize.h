// Resizing as GLAMI-1M's loader does it: skimage.transform.resize with its defaults for colour pictures.
#pragma once

#include <vector>

#include "data/image.h"

namespace weft {

/// Bilinear with anti-aliasing, [height, width, 3] in 0..1, equal to skimage.transform.resize (order 1, anti_aliasing,
/// mode "reflect") up to float rounding. Where an axis shrinks by the factor f > 1 it is first blurred by a Gaussian of
/// sigma (f - 1) / 2, cut off after 4 sigma; sample o lies at (o + 1/2) f - 1/2; both mirror at the border without
/// repeating the edge pixel.
std::vector<float> resize_bilinear_antialias(const Image& image, int height, int width);

/// The same, rounded to 8 bits.
Image resize_image(const Image& image, int height, int width);

}  // namespace weft
