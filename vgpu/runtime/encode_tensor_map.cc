#include "vgpu/runtime/encode_tensor_map.h"

#include <cstring>
#include <string>

#include "vgpu/runtime/errors.h"
#include "vgpu/tensor_map.h"

namespace vgpu {
namespace {

[[noreturn]] void lacks(const std::string& what) { refuse("cuTensorMapEncodeTiled: " + what + " is not supported"); }

/// Bytes of an element; 0: the number is no type. Types that change values on the way are refused.
u32 bytes_of(CUtensorMapDataType type) {
  switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
      return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
      return 2;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
      return 4;
    case CU_TENSOR_MAP_DATA_TYPE_UINT64:
    case CU_TENSOR_MAP_DATA_TYPE_INT64:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT64:
      return 8;
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32_FTZ:
      lacks("CU_TENSOR_MAP_DATA_TYPE_FLOAT32_FTZ");
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32:
      lacks("CU_TENSOR_MAP_DATA_TYPE_TFLOAT32");
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ:
      lacks("CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ");
    case CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN8B:
      lacks("CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN8B");
    case CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN16B:
      lacks("CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN16B");
    case CU_TENSOR_MAP_DATA_TYPE_16U6_ALIGN16B:
      lacks("CU_TENSOR_MAP_DATA_TYPE_16U6_ALIGN16B");
    default:
      return 0;
  }
}

bool within(u64 value, u64 least, u64 most) { return value >= least && value <= most; }

}  // namespace

CUresult encode_tensor_map(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address,
                           const cuuint64_t* dims, const cuuint64_t* strides, const cuuint32_t* box,
                           const cuuint32_t* steps, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                           CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
  const u32 bytes = bytes_of(type);
  if (!map || reinterpret_cast<u64>(map) % 64 || bytes == 0 || !within(rank, 1, 5) || !dims || !box || !steps ||
      (rank > 1 && !strides) || reinterpret_cast<u64>(address) % 16 || !within(promotion, 0, 3) || !within(fill, 0, 1))
    return CUDA_ERROR_INVALID_VALUE;
  if (interleave != CU_TENSOR_MAP_INTERLEAVE_NONE) lacks("an interleaved layout");
  if (fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) lacks("CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA");
  if (!within(swizzle, CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_128B))
    lacks("a swizzle of other atoms than 16 bytes");
  TensorMap m;
  m.magic = TensorMap::made_here;
  m.address = reinterpret_cast<u64>(address);
  m.rank = static_cast<u8>(rank);
  m.element_bytes = static_cast<u8>(bytes);
  m.swizzle_bytes = swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? 0 : static_cast<u8>(16 << swizzle);
  for (u32 i = 0; i < rank; i++) {
    if (!within(dims[i], 1, u64{1} << 32) || !within(box[i], 1, 256) || (i > 0 && !within(steps[i], 1, 8)) ||
        (i > 0 && (strides[i - 1] % 16 || strides[i - 1] >= u64{1} << 40)))
      return CUDA_ERROR_INVALID_VALUE;
    m.last[i] = static_cast<u32>(dims[i] - 1);
    m.box[i] = static_cast<u16>(box[i]);
    m.steps[i] = i == 0 ? 1 : static_cast<u8>(steps[i]);  // the first is ignored
    if (i > 0) m.strides[i - 1] = strides[i - 1];
  }
  if (m.row_bytes() % 16 || (m.swizzle_bytes && m.row_bytes() > m.swizzle_bytes)) return CUDA_ERROR_INVALID_VALUE;
  if (m.swizzle_bytes && m.row_bytes() < m.swizzle_bytes) lacks("a box whose rows are narrower than the swizzle");
  std::memcpy(map, &m, sizeof m);
  return CUDA_SUCCESS;
}

}  // namespace vgpu
