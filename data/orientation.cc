#include "data/orientation.h"

#include <algorithm>
#include <cstring>
#include <span>

namespace weft {
namespace {

using Bytes = std::span<const uint8_t>;

/// An unsigned number of 2 or 4 bytes; 0 where the bytes end before it.
uint32_t number(Bytes bytes, size_t at, size_t size, bool little_endian) {
  if (at > bytes.size() || bytes.size() - at < size) return 0;
  uint32_t value = 0;
  for (size_t i = 0; i < size; ++i) value = value << 8 | bytes[at + (little_endian ? size - 1 - i : i)];
  return value;
}

bool starts_with(Bytes bytes, const char* text, size_t size) {
  return bytes.size() >= size && std::memcmp(bytes.data(), text, size) == 0;
}

/// The tag in the first directory of TIFF data.
int tiff_orientation(Bytes tiff) {
  const bool little = starts_with(tiff, "II*\0", 4);
  if (!little && !starts_with(tiff, "MM\0*", 4)) return 1;
  const size_t directory = number(tiff, 4, 4, little);
  const uint32_t entries = number(tiff, directory, 2, little);
  for (uint32_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + size_t{12} * i;
    if (entry + 12 > tiff.size()) break;
    if (number(tiff, entry, 2, little) != 0x0112) continue;
    constexpr uint32_t short_type = 3;
    const uint32_t value = number(tiff, entry + 8, 2, little);
    const bool readable = number(tiff, entry + 2, 2, little) == short_type && number(tiff, entry + 4, 4, little) == 1;
    return readable && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

int jpeg_orientation(Bytes bytes) {
  for (size_t at = 2; at + 4 <= bytes.size() && bytes[at] == 0xFF;) {
    const uint8_t marker = bytes[at + 1];
    if (marker == 0xFF) {
      ++at;
      continue;
    }
    if (marker == 0xDA || marker == 0xD9) break;
    const size_t length = number(bytes, at + 2, 2, false);
    if (length < 2 || bytes.size() - at - 2 < length) break;
    const Bytes segment = bytes.subspan(at + 4, length - 2);
    if (marker == 0xE1 && starts_with(segment, "Exif\0\0", 6)) return tiff_orientation(segment.subspan(6));
    at += 2 + length;
  }
  return 1;
}

int png_orientation(Bytes bytes) {
  for (size_t at = 8; at + 12 <= bytes.size();) {
    const size_t length = number(bytes, at, 4, false);
    if (bytes.size() - at - 12 < length) break;
    if (starts_with(bytes.subspan(at + 4), "eXIf", 4)) return tiff_orientation(bytes.subspan(at + 8, length));
    at += 12 + length;
  }
  return 1;
}

}  // namespace

int exif_orientation(const std::vector<uint8_t>& bytes) {
  if (starts_with(bytes, "\xFF\xD8", 2)) return jpeg_orientation(bytes);
  return starts_with(bytes, "\x89PNG\r\n\x1A\n", 8) ? png_orientation(bytes) : 1;
}

Image oriented(const Image& image, int orientation) {
  if (orientation < 2 || orientation > 8) return image;
  const bool turned = orientation >= 5;
  Image out(turned ? image.width : image.height, turned ? image.height : image.width);
  // Where the picture's columns and rows are counted from the far end.
  const bool mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  for (int y = 0; y < out.height; ++y)
    for (int x = 0; x < out.width; ++x) {
      const int along = turned ? y : x, down = turned ? x : y;
      const int from_x = mirror_x ? image.width - 1 - along : along;
      const int from_y = mirror_y ? image.height - 1 - down : down;
      std::copy_n(image.at(from_y, from_x), 3, out.at(y, x));
    }
  return out;
}

Image read_upright_image(const std::filesystem::path& file, const ImageLimits& limits) {
  const std::vector<uint8_t> bytes = read_file(file, limits.file_bytes);
  return oriented(decode_image(bytes, file.string(), Alpha::drop, limits), exif_orientation(bytes));
}

}  // namespace weft
