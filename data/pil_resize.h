// Resizing as Pillow does it, and as torchvision does it to tensors: a filter widened by the factor that an axis
// shrinks by (https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c).
#pragma once

#include <vector>

#include "data/image.h"

namespace weft {

enum class Filter { bilinear, bicubic, lanczos };

/// PIL's Image.resize((width, height), filter) of an RGB picture, to the bit: coefficients of 22 bits, first along
/// rows, then along columns, rounded and cut to 8 bits after each. An axis whose size stays is not filtered. Pillow 13
/// goes along columns first where the height shrinks much more than the width; this is what every Pillow before it
/// does.
Image resize_pil(const Image& image, int height, int width, Filter filter);

/// torchvision's resize(tensor, antialias=True) of the picture in 0..1, [height, width, 3], in float; what bicubic
/// throws over 0 or 1 stays. torchvision has no lanczos for tensors.
std::vector<float> resize_tensor(const Image& image, int height, int width, Filter filter);

}  // namespace weft
