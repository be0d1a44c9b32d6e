// Pictures as CLIP takes them.
#pragma once

#include <vector>

#include "data/image.h"
#include "data/pil_resize.h"

namespace weft {

/// torchvision's Resize(size): the shorter side becomes `size`, the longer one keeps the ratio, rounded down.
Image resize_shorter_side(const Image& image, int size, Filter filter = Filter::bicubic);

/// torchvision's CenterCrop(size) of a picture that is at least as large; half a pixel goes to the even side.
Image center_crop(const Image& image, int size);

/// CLIP's preprocessing: shorter side to `size`, bicubic as PIL does it, the middle square, 0..1, minus CLIP's mean,
/// divided by its deviation. [size, size, 3]. Equal to the original, to the bit, for pictures that PIL opens as RGB or
/// grey; those with a palette, transparency or CMYK are RGB here before they are resized, and there after.
std::vector<float> clip_pixels(const Image& image, int size = 224);

}  // namespace weft
