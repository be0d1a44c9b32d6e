// JPEG through libjpeg-turbo, with the settings that Pillow has, and so Pillow's pixels.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "data/image.h"

namespace weft {

/// Decodes a JPEG that check_image has let pass (`header` is its answer): grey becomes RGB, Adobe's inverted CMYK
/// becomes RGB as PIL's convert("RGB") does it. `name` begins the errors. Throws std::runtime_error where the data is
/// corrupt or ends early, or where the picture comes in more than 100 scans.
Image decode_jpeg(const std::vector<uint8_t>& bytes, const ImageHeader& header, std::string_view name);

}  // namespace weft
