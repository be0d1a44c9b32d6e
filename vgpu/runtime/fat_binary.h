#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vgpu {

/// One image of a fat binary: PTX text or a SASS executable (an ELF file), as stored.
struct Image {
  enum class Kind { ptx, sass };
  enum class Compression { none, lz4, zstd };

  Kind kind;
  int sm;                ///< 80 for compute_80 or sm_80
  bool arch_specific;    ///< compute_90a: runs on sm_90 alone
  bool family_specific;  ///< compute_100f: runs on its own major version alone
  Compression compression;
  std::string_view stored;
  uint64_t size;  ///< bytes after decompression
};

/// The images of the fat binary that starts at `data`. `bytes_left` bounds what may be read. Throws std::runtime_error
/// on damage. Layout: as nvcc 13.0's `fatbinary` writes it, measured (docs/virtual-gpu.md).
std::vector<Image> read_fat_binary(const void* data, uint64_t bytes_left = UINT64_MAX);

/// The image's own bytes, decompressed; a PTX text ends before its padding. Throws std::runtime_error on damage.
std::string image_bytes(const Image& image);

/// Whether the driver of a GPU of compute capability `sm` (90 for 9.0) would compile this PTX for it.
bool ptx_runs_on(const Image& image, int sm);

/// The PTX that the driver of such a GPU would choose: the newest that runs on it. Null if there is none.
const Image* best_ptx(const std::vector<Image>& images, int sm);

}  // namespace vgpu
