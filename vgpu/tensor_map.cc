#include "vgpu/tensor_map.h"

#include <algorithm>

namespace vgpu {

u32 TensorMap::rows() const {
  u32 n = 1;
  for (int i = 1; i < rank; i++) n *= taken(i);
  return n;
}

TensorMap::Row TensorMap::row(const i32* coordinates, u32 row) const {
  Row r;
  r.address = address;
  for (int i = 1; i < rank; i++) {
    const i64 at = i64{coordinates[i]} + i64{row % taken(i)} * steps[i];
    row /= taken(i);
    if (at < 0 || at > i64{last[i]}) return {};
    r.address += static_cast<u64>(at) * strides[i - 1];
  }
  const i64 from = std::max<i64>(coordinates[0], 0);
  const i64 to = std::min<i64>(i64{coordinates[0]} + box[0], static_cast<i64>(size(0)));
  if (from >= to) return {};
  r.address += static_cast<u64>(from) * element_bytes;
  r.skip = static_cast<u32>(from - coordinates[0]) * element_bytes;
  r.bytes = static_cast<u32>(to - from) * element_bytes;
  return r;
}

}  // namespace vgpu
