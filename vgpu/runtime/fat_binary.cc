#include "vgpu/runtime/fat_binary.h"

#include <lz4.h>
#include <zstd.h>

#include <cstring>
#include <limits>
#include <stdexcept>

namespace vgpu {
namespace {

constexpr uint32_t fat_binary_magic = 0xBA55ED50;
constexpr uint16_t ptx_kind = 1;
constexpr uint16_t sass_kind = 2;
constexpr uint64_t lz4_flag = 0x2000;
constexpr uint64_t zstd_flag = 0x8000;
constexpr uint64_t arch_specific_flag = 0x100000;
constexpr uint64_t family_specific_flag = 0x200000;
constexpr uint64_t largest_image = 1ull << 32;

struct FatBinaryHeader {
  uint32_t magic;
  uint16_t version;
  uint16_t header_size;
  uint64_t size;  // of all entries
};

struct EntryHeader {
  uint16_t kind;
  uint16_t version;
  uint32_t header_size;
  uint64_t padded_size;
  uint32_t compressed_size;
  uint32_t options_offset;
  uint32_t kind_version;
  uint32_t sm;
  uint32_t bits;
  uint32_t name_size;
  uint64_t flags;
  uint64_t name_offset;
  uint64_t size;  // when compressed
};
static_assert(sizeof(EntryHeader) == 64);

template <class T>
T read(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

[[noreturn]] void damaged(const std::string& what) { throw std::runtime_error("damaged fat binary: " + what); }

Image make_image(const EntryHeader& entry, const char* data) {
  Image image{};
  image.kind = entry.kind == ptx_kind ? Image::Kind::ptx : Image::Kind::sass;
  image.sm = static_cast<int>(entry.sm);
  image.arch_specific = entry.flags & arch_specific_flag;
  image.family_specific = entry.flags & family_specific_flag;
  bool compressed = entry.flags & (lz4_flag | zstd_flag);
  if (compressed) {
    image.compression = entry.flags & zstd_flag ? Image::Compression::zstd : Image::Compression::lz4;
    if (entry.compressed_size > entry.padded_size) damaged("a compressed image is larger than its entry");
    image.stored = {data, entry.compressed_size};
    image.size = entry.size;
  } else {
    image.stored = {data, entry.padded_size};
    image.size = entry.padded_size;
  }
  if (image.size > largest_image) damaged("an image of " + std::to_string(image.size) + " bytes");
  return image;
}

std::string decompress_lz4(const Image& image) {
  if (image.stored.size() > std::numeric_limits<int>::max() || image.size > std::numeric_limits<int>::max()) {
    damaged("an LZ4 image larger than 2 GiB");
  }
  std::string bytes(image.size, '\0');
  int made = LZ4_decompress_safe(image.stored.data(), bytes.data(), static_cast<int>(image.stored.size()),
                                 static_cast<int>(bytes.size()));
  if (made < 0 || static_cast<uint64_t>(made) != image.size) damaged("LZ4 data that does not decompress to its size");
  return bytes;
}

std::string decompress_zstd(const Image& image) {
  std::string bytes(image.size, '\0');
  size_t made = ZSTD_decompress(bytes.data(), bytes.size(), image.stored.data(), image.stored.size());
  if (ZSTD_isError(made) || made != image.size) damaged("zstd data that does not decompress to its size");
  return bytes;
}

}  // namespace

std::vector<Image> read_fat_binary(const void* data, uint64_t bytes_left) {
  const char* start = static_cast<const char*>(data);
  if (bytes_left < sizeof(FatBinaryHeader)) damaged("shorter than its header");
  auto header = read<FatBinaryHeader>(start);
  if (header.magic != fat_binary_magic) damaged("no fat binary starts here");
  if (header.version != 1) damaged("version " + std::to_string(header.version) + ", only 1 is known");
  if (header.header_size < sizeof header || header.header_size > bytes_left ||
      header.size > bytes_left - header.header_size) {
    damaged("its size is larger than the file");
  }
  std::vector<Image> images;
  uint64_t at = 0;
  const char* entries = start + header.header_size;
  while (at < header.size) {
    if (header.size - at < sizeof(EntryHeader)) damaged("an entry shorter than its header");
    auto entry = read<EntryHeader>(entries + at);
    uint64_t left = header.size - at;
    if (entry.header_size < sizeof entry || entry.header_size > left || entry.padded_size > left - entry.header_size) {
      damaged("an entry reaches past the end");
    }
    if (entry.kind == ptx_kind || entry.kind == sass_kind) {
      images.push_back(make_image(entry, entries + at + entry.header_size));
    }
    at += entry.header_size + entry.padded_size;
  }
  return images;
}

std::string image_bytes(const Image& image) {
  std::string bytes;
  switch (image.compression) {
    case Image::Compression::lz4: bytes = decompress_lz4(image); break;
    case Image::Compression::zstd: bytes = decompress_zstd(image); break;
    case Image::Compression::none: bytes = std::string(image.stored); break;
  }
  if (image.kind == Image::Kind::ptx) bytes.resize(std::strlen(bytes.c_str()));
  return bytes;
}

bool ptx_runs_on(const Image& image, int sm) {
  if (image.kind != Image::Kind::ptx || image.sm > sm) return false;
  if (image.arch_specific) return image.sm == sm;
  if (image.family_specific) return image.sm / 10 == sm / 10;
  return true;
}

const Image* best_ptx(const std::vector<Image>& images, int sm) {
  const Image* best = nullptr;
  for (const Image& image : images) {
    if (!ptx_runs_on(image, sm)) continue;
    bool better = !best || image.sm > best->sm || (image.sm == best->sm && image.arch_specific && !best->arch_specific);
    if (better) best = &image;
  }
  return best;
}

}  // namespace vgpu
