// EXIF orientation: how a camera says which way up its picture is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "data/image.h"

namespace weft {

/// The orientation tag (0x0112) in a JPEG's first Exif segment or a PNG's eXIf chunk, 1 to 8; 1 where there is none or
/// it cannot be read, as in PIL. Takes any bytes.
int exif_orientation(const std::vector<uint8_t>& bytes);

/// PIL's ImageOps.exif_transpose: the picture as its orientation wants it seen. Orientations other than 2 to 8 leave it
/// as it is.
Image oriented(const Image& image, int orientation);

/// read_image (data/image.h), then upright: for a picture that somebody took. Those of data sets are read as they lie,
/// as the reference loaders do.
Image read_upright_image(const std::filesystem::path& file, const ImageLimits& limits = {});

}  // namespace weft
