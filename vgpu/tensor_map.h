// Tensor maps: what cuTensorMapEncodeTiled makes and cp.async.bulk.tensor reads. Real ones are opaque; these hold the
// parameters as they were given (driver API reference, "Tensor Map Object Management").
#pragma once

#include <string>

#include "vgpu/types.h"

namespace vgpu {

struct alignas(64) TensorMap {
  static constexpr int most_dimensions = 5;
  static constexpr u64 made_here = 0x70616d2d75706776;  // "vgpu-map"
  u64 magic = 0;
  u64 address = 0;
  u64 strides[most_dimensions - 1] = {};  // bytes, of dimensions 1 and up
  u32 last[most_dimensions] = {};         // size - 1
  u16 box[most_dimensions] = {};          // elements that are traversed
  u8 steps[most_dimensions] = {};         // of which every steps[i]-th is taken
  u8 rank = 0, element_bytes = 0;
  u8 swizzle_bytes = 0;  // 0, 32, 64 or 128

  u64 size(int i) const { return u64{last[i]} + 1; }
  u32 taken(int i) const { return i == 0 ? box[0] : (box[i] + steps[i] - 1u) / steps[i]; }
  u32 row_bytes() const { return u32{box[0]} * element_bytes; }
  u32 rows() const;  // of the box, each of row_bytes() bytes
  u32 bytes() const { return rows() * row_bytes(); }

  // Row `row` of the box at these coordinates: which of its elements lie in the tensor, and where.
  struct Row {
    u64 address = 0;          // of the first that does
    u32 skip = 0, bytes = 0;  // before it in the row; 0 bytes: none does
  };
  Row row(const i32* coordinates, u32 row) const;
};
static_assert(sizeof(TensorMap) == 128);

// Shared memory's 16-byte chunks change places within 32, 64 or 128 bytes by the number of the 128-byte line.
inline u32 swizzled(u32 address, u32 swizzle_bytes) {
  return swizzle_bytes < 32 ? address : address ^ ((address >> 3) & (swizzle_bytes - 16) & 0x70);
}

}  // namespace vgpu
