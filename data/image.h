// JPEG and PNG files to and from 8-bit RGB, with PIL's pixels. libjpeg-turbo and stb decode; what they trust (sizes,
// checksums, a complete file) is checked here first, so that a file of a few bytes cannot ask for gigabytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

namespace weft {

/// 8-bit RGB, rows from the top: pixels is [height, width, 3].
struct Image {
  int height = 0, width = 0;
  std::vector<uint8_t> pixels;

  Image() = default;
  /// An image of one grey level.
  Image(int height, int width, uint8_t level = 255)
      : height(height), width(width), pixels(size_t{3} * height * width, level) {}
  uint8_t* at(int y, int x) { return &pixels[(static_cast<size_t>(y) * width + x) * 3]; }
  const uint8_t* at(int y, int x) const { return &pixels[(static_cast<size_t>(y) * width + x) * 3]; }
  bool operator==(const Image&) const = default;
};

/// What becomes of transparency: PIL's convert("RGB"), and so the reference loader, drops it; drawings are put on
/// white.
enum class Alpha { drop, over_white };

struct ImageLimits {
  int64_t pixels = int64_t{1} << 26;      // 64 Mi: above any camera's picture, 192 MiB once decoded
  int64_t file_bytes = int64_t{1} << 28;  // 256 MiB
};

/// What the header of an image file says.
struct ImageHeader {
  enum class Format { jpeg, png } format = Format::jpeg;
  int height = 0, width = 0;
  int channels = 0;  // of the file: 1 grey, 2 grey + alpha, 3 RGB or palette, 4 RGB + alpha or CMYK
};

/// Checks a whole JPEG or PNG without decoding a pixel: signature, sizes against the limits, and that the file is
/// complete (JPEG: every segment and the end marker; PNG: every chunk's checksum and the end chunk). `name` begins the
/// errors. CMYK without Adobe's marker is refused, since nothing says whether it is inverted; so are 12-bit, lossless
/// and arithmetic-coded JPEG, and grey PNG of 16 bits, which PIL's convert("RGB") cuts off at 255. Throws
/// std::runtime_error "NAME: what was found".
ImageHeader check_image(const std::vector<uint8_t>& bytes, std::string_view name, const ImageLimits& limits = {});

/// Decodes a JPEG or PNG file. Grey becomes RGB, 16 bits of colour lose their lower byte, Adobe CMYK becomes RGB as PIL
/// does it, EXIF orientation is not applied (as in PIL; data/orientation.h has read_upright_image). Errors: as
/// check_image, and a missing or corrupt file.
Image read_image(const std::filesystem::path& file, Alpha alpha = Alpha::drop, const ImageLimits& limits = {});

/// As read_image, from bytes in memory; `name` begins the errors.
Image decode_image(const std::vector<uint8_t>& bytes, std::string_view name, Alpha alpha = Alpha::drop,
                   const ImageLimits& limits = {});

/// JPEG, quality 1..100 (no chroma subsampling above 90).
std::vector<uint8_t> encode_jpeg(const Image& image, int quality = 95);
std::vector<uint8_t> encode_png(const Image& image);

/// Writes PNG or JPEG by the file name's ending (.png, .jpg, .jpeg); throws naming the file if it cannot be written.
void write_image(const std::filesystem::path& file, const Image& image, int quality = 95);

/// Reads a whole file of at most `limit` bytes; throws naming the file.
std::vector<uint8_t> read_file(const std::filesystem::path& file, int64_t limit);
/// Creates or replaces a file; throws naming it.
void write_file(const std::filesystem::path& file, const std::vector<uint8_t>& bytes);

}  // namespace weft
