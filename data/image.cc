#include "data/image.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>

#include "data/jpeg.h"
#include "tensor/check.h"

#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
// Zeroed: a broken picture would otherwise be decoded by what lay in memory before.
#define STBI_MALLOC(size) std::calloc(1, size)
#define STBI_REALLOC(pointer, size) std::realloc(pointer, size)
#define STBI_FREE(pointer) std::free(pointer)
// An error like any other instead of the end of the program.
#define STBI_ASSERT(condition) weft::check_input(condition, "picture decoder: {} does not hold", #condition)
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wsign-compare"
#include <stb_image.h>
#include <stb_image_write.h>
#pragma GCC diagnostic pop

namespace weft {
namespace {

void append_bytes(void* out, void* data, int size) {
  auto* bytes = static_cast<uint8_t*>(data);
  static_cast<std::vector<uint8_t>*>(out)->insert(static_cast<std::vector<uint8_t>*>(out)->end(), bytes, bytes + size);
}

void check_whole(const Image& image, const char* op) {
  check(image.height > 0 && image.width > 0 && image.pixels.size() == size_t{3} * image.height * image.width,
        "[{}] image must have height * width * 3 bytes but has {} for {} x {}", op, image.pixels.size(), image.width,
        image.height);
}

}  // namespace

std::vector<uint8_t> read_file(const std::filesystem::path& file, int64_t limit) {
  std::error_code error;
  check_input(std::filesystem::exists(file, error), "{}: no such file", file.string());
  check_input(std::filesystem::is_regular_file(file, error), "{}: is not a file", file.string());
  std::ifstream stream(file, std::ios::binary);
  check_input(stream.is_open(), "{}: cannot be opened: {}", file.string(), std::strerror(errno));
  stream.seekg(0, std::ios::end);
  int64_t size = stream.tellg();
  check_input(size >= 0 && size <= limit, "{}: {} bytes are more than the {} allowed", file.string(), size, limit);
  std::vector<uint8_t> bytes(static_cast<size_t>(size));
  stream.seekg(0);
  stream.read(reinterpret_cast<char*>(bytes.data()), size);
  check_input(stream.gcount() == size, "{}: cannot be read: {} of {} bytes came", file.string(), stream.gcount(), size);
  return bytes;
}

void write_file(const std::filesystem::path& file, const std::vector<uint8_t>& bytes) {
  std::ofstream stream(file, std::ios::binary);
  check_input(stream.is_open(), "{}: cannot be written: {}", file.string(), std::strerror(errno));
  stream.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  stream.close();
  check_input(!stream.fail(), "{}: cannot be written: {}", file.string(), std::strerror(errno));
}

Image decode_image(const std::vector<uint8_t>& bytes, std::string_view name, Alpha alpha, const ImageLimits& limits) {
  check_input(static_cast<int64_t>(bytes.size()) <= limits.file_bytes, "{}: {} bytes are more than the {} allowed",
              name, bytes.size(), limits.file_bytes);
  ImageHeader header = check_image(bytes, name, limits);
  if (header.format == ImageHeader::Format::jpeg) return decode_jpeg(bytes, header, name);
  // PNG palettes may be transparent too, and stb only tells after decoding: over_white always asks for alpha.
  int channels = alpha == Alpha::over_white ? 4 : 3;
  int width = 0, height = 0, in_file = 0;
  std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> pixels(
      stbi_load_from_memory(bytes.data(), static_cast<int>(bytes.size()), &width, &height, &in_file, channels),
      stbi_image_free);
  check_input(pixels != nullptr, "{}: corrupt PNG: {}", name, stbi_failure_reason());
  check_input(width == header.width && height == header.height,
              "{}: corrupt: {} x {} pixels decoded where its header says {} x {}", name, width, height, header.width,
              header.height);
  Image image(height, width);
  if (channels == 3) {
    std::memcpy(image.pixels.data(), pixels.get(), image.pixels.size());
    return image;
  }
  const stbi_uc* rgba = pixels.get();
  for (size_t i = 0; i < image.pixels.size(); i += 3, rgba += 4)
    for (int c = 0; c < 3; ++c)
      image.pixels[i + c] = static_cast<uint8_t>((rgba[c] * rgba[3] + 255 * (255 - rgba[3]) + 127) / 255);
  return image;
}

Image read_image(const std::filesystem::path& file, Alpha alpha, const ImageLimits& limits) {
  return decode_image(read_file(file, limits.file_bytes), file.string(), alpha, limits);
}

std::vector<uint8_t> encode_jpeg(const Image& image, int quality) {
  check_whole(image, "encode_jpeg");
  check(quality >= 1 && quality <= 100, "[encode_jpeg] quality must be 1..100 but is {}", quality);
  check(image.height <= 65535 && image.width <= 65535, "[encode_jpeg] sides must be at most 65535 but are {} x {}",
        image.width, image.height);
  std::vector<uint8_t> bytes;
  check_input(
      stbi_write_jpg_to_func(append_bytes, &bytes, image.width, image.height, 3, image.pixels.data(), quality) != 0,
      "JPEG encoding of {} x {} pixels failed", image.width, image.height);
  return bytes;
}

std::vector<uint8_t> encode_png(const Image& image) {
  check_whole(image, "encode_png");
  std::vector<uint8_t> bytes;
  check_input(stbi_write_png_to_func(append_bytes, &bytes, image.width, image.height, 3, image.pixels.data(),
                                     image.width * 3) != 0,
              "PNG encoding of {} x {} pixels failed", image.width, image.height);
  return bytes;
}

void write_image(const std::filesystem::path& file, const Image& image, int quality) {
  std::string ending = file.extension().string();
  bool jpeg = ending == ".jpg" || ending == ".jpeg";
  check(jpeg || ending == ".png", "[write_image] the file name must end in .png, .jpg or .jpeg but is \"{}\"",
        file.string());
  write_file(file, jpeg ? encode_jpeg(image, quality) : encode_png(image));
}

}  // namespace weft
