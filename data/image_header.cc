// What a JPEG or PNG file says of itself, checked to its last byte before anything is allocated for its pixels.
#include <array>
#include <cstring>

#include "data/image.h"
#include "tensor/check.h"

namespace weft {
namespace {

uint32_t big_endian(const uint8_t* p, int bytes) {
  uint32_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | p[i];
  return value;
}

void check_size(const ImageHeader& header, size_t bytes, int64_t pixels_per_byte, std::string_view name,
                const ImageLimits& limits) {
  int64_t pixels = int64_t{header.height} * header.width;
  check_input(header.height > 0 && header.width > 0, "{}: {} x {} pixels: a side is zero", name, header.width,
              header.height);
  check_input(pixels <= limits.pixels, "{}: {} x {} pixels are more than the {} allowed", name, header.width,
              header.height, limits.pixels);
  check_input(pixels <= static_cast<int64_t>(bytes) * pixels_per_byte,
              "{}: {} x {} pixels do not fit into its {} bytes: truncated or corrupt", name, header.width,
              header.height, bytes);
}

/// Huffman tables, [at, end) of a DHT segment: at most 256 symbols each, all of them there.
void check_huffman_tables(const std::vector<uint8_t>& bytes, size_t at, size_t end, std::string_view name) {
  while (at < end) {
    size_t symbols = 0;
    for (size_t i = 1; i <= 16 && at + i < end; ++i) symbols += bytes[at + i];
    check_input(symbols <= 256 && at + 17 + symbols <= end,
                "{}: corrupt JPEG: a Huffman table of {} symbols at byte {}", name, symbols, at);
    at += 17 + symbols;
  }
}

ImageHeader check_jpeg(const std::vector<uint8_t>& bytes, std::string_view name, const ImageLimits& limits) {
  ImageHeader header;
  header.format = ImageHeader::Format::jpeg;
  int adobe_transform = -1;
  bool frame = false, scan = false;
  size_t n = bytes.size(), at = 2;
  while (true) {
    check_input(at + 2 <= n, "{}: truncated JPEG: no end marker in its {} bytes", name, n);
    check_input(bytes[at] == 0xFF, "{}: corrupt JPEG: no marker at byte {}", name, at);
    uint8_t marker = bytes[at + 1];
    if (marker == 0xFF) {  // a fill byte
      ++at;
      continue;
    }
    if (marker == 0xD9) break;
    bool alone = marker == 0x01 || (marker >= 0xD0 && marker <= 0xD7);
    at += 2;
    if (alone) continue;
    check_input(at + 2 <= n, "{}: truncated JPEG: no end marker in its {} bytes", name, n);
    size_t length = big_endian(&bytes[at], 2);
    check_input(length >= 2, "{}: corrupt JPEG: a segment of {} bytes at byte {}", name, length, at);
    check_input(at + length <= n, "{}: truncated JPEG: a segment at byte {} ends after its {} bytes", name, at, n);
    bool start_of_frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (start_of_frame) {
      check_input(marker <= 0xC2, "{}: this kind of JPEG (0x{:02X}) is not supported: baseline and progressive are",
                  name, marker);
      check_input(!frame, "{}: corrupt JPEG: a second frame at byte {}", name, at);
      check_input(length >= 8, "{}: corrupt JPEG: a frame header of {} bytes", name, length);
      check_input(bytes[at + 2] == 8, "{}: JPEG with {} bits a sample: only 8 are supported", name, bytes[at + 2]);
      header.height = static_cast<int>(big_endian(&bytes[at + 3], 2));
      header.width = static_cast<int>(big_endian(&bytes[at + 5], 2));
      header.channels = bytes[at + 7];
      check_input(header.channels == 1 || header.channels == 3 || header.channels == 4,
                  "{}: JPEG with {} channels: 1, 3 or 4 expected", name, header.channels);
      // The first component takes at least one bit for each 8x8 block, so 512 pixels a byte; twice that for odd
      // subsampling.
      check_size(header, n, 1024, name, limits);
      frame = true;
    } else if (marker == 0xC4) {
      check_huffman_tables(bytes, at + 2, at + length, name);
    } else if (marker == 0xEE && length >= 14 && std::memcmp(&bytes[at + 2], "Adobe", 5) == 0) {
      adobe_transform = bytes[at + 13];
    }
    at += length;
    if (marker == 0xDA) {
      check_input(frame, "{}: corrupt JPEG: a scan at byte {} before any frame", name, at);
      scan = true;
      // Entropy-coded bytes: FF is followed by 00 or is a restart marker.
      while (true) {
        const void* hit = at < n ? std::memchr(&bytes[at], 0xFF, n - at) : nullptr;
        check_input(hit != nullptr, "{}: truncated JPEG: no end marker in its {} bytes", name, n);
        at = static_cast<size_t>(static_cast<const uint8_t*>(hit) - bytes.data());
        check_input(at + 1 < n, "{}: truncated JPEG: no end marker in its {} bytes", name, n);
        uint8_t next = bytes[at + 1];
        if (next != 0x00 && !(next >= 0xD0 && next <= 0xD7)) break;
        at += 2;
      }
    }
  }
  check_input(frame && scan, "{}: corrupt JPEG: it ends without a picture", name);
  check_input(header.channels != 4 || adobe_transform == 0 || adobe_transform == 2,
              "{}: CMYK JPEG without Adobe's marker is not supported: convert it to RGB", name);
  return header;
}

constexpr auto kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int k = 0; k < 8; ++k) c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
    table[i] = c;
  }
  return table;
}();

uint32_t crc32(const uint8_t* p, size_t n) {
  uint32_t c = 0xFFFFFFFFu;
  for (size_t i = 0; i < n; ++i) c = kCrcTable[(c ^ p[i]) & 0xFF] ^ c >> 8;
  return ~c;
}

ImageHeader check_png(const std::vector<uint8_t>& bytes, std::string_view name, const ImageLimits& limits) {
  ImageHeader header;
  header.format = ImageHeader::Format::png;
  size_t n = bytes.size(), at = 8;
  bool first = true, data = false;
  while (true) {
    check_input(at + 12 <= n, "{}: truncated PNG: no end chunk in its {} bytes", name, n);
    size_t length = big_endian(&bytes[at], 4);
    check_input(length <= n && at + 12 + length <= n, "{}: truncated PNG: a chunk at byte {} ends after its {} bytes",
                name, at, n);
    const uint8_t* chunk = &bytes[at + 4];
    check_input(crc32(chunk, length + 4) == big_endian(chunk + 4 + length, 4),
                "{}: corrupt PNG: wrong checksum of the chunk at byte {}", name, at);
    bool is_header = std::memcmp(chunk, "IHDR", 4) == 0;
    check_input(is_header == first, "{}: corrupt PNG: its header is not its first chunk", name);
    if (is_header) {
      check_input(length == 13, "{}: corrupt PNG: a header of {} bytes", name, length);
      uint32_t width = big_endian(chunk + 4, 4), height = big_endian(chunk + 8, 4);
      check_input(width <= 0x7FFFFFFF && height <= 0x7FFFFFFF, "{}: corrupt PNG: {} x {} pixels", name, width, height);
      header.width = static_cast<int>(width);
      header.height = static_cast<int>(height);
      int colour = chunk[13];
      check_input(colour != 0 || chunk[12] != 16,
                  "{}: grey PNG of 16 bits is not supported, since PIL leaves white of it: convert it to 8 bits", name);
      header.channels = colour == 0 ? 1 : colour == 4 ? 2 : colour == 6 ? 4 : 3;
      // Deflate packs at most 1,032 bytes into one, and a byte holds at most 8 pixels.
      check_size(header, n, 1032 * 8, name, limits);
      first = false;
    }
    data = data || std::memcmp(chunk, "IDAT", 4) == 0;
    if (std::memcmp(chunk, "IEND", 4) == 0) break;
    at += 12 + length;
  }
  check_input(data, "{}: corrupt PNG: it ends without a picture", name);
  return header;
}

}  // namespace

ImageHeader check_image(const std::vector<uint8_t>& bytes, std::string_view name, const ImageLimits& limits) {
  check_input(!bytes.empty(), "{}: is empty: a JPEG or PNG was expected", name);
  constexpr uint8_t kPng[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  if (bytes.size() >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF)
    return check_jpeg(bytes, name, limits);
  if (bytes.size() >= 8 && std::memcmp(bytes.data(), kPng, 8) == 0) return check_png(bytes, name, limits);
  std::string start;
  for (size_t i = 0; i < bytes.size() && i < 8; ++i) start += fmt::format("{}{:02x}", i ? " " : "", bytes[i]);
  fail("{}: is neither JPEG nor PNG: it begins with {}", name, start);
}

}  // namespace weft
