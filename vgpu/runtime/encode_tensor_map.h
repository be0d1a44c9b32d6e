#pragma once

#include <cuda.h>

namespace vgpu {

/// cuTensorMapEncodeTiled: CUDA_ERROR_INVALID_VALUE for what its documentation rules out; refuses by name what the
/// interpreter does not do (interleaved layouts, NaN fill, packed types, types that round, other swizzles).
CUresult encode_tensor_map(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address,
                           const cuuint64_t* dims, const cuuint64_t* strides, const cuuint32_t* box,
                           const cuuint32_t* steps, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                           CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill);

}  // namespace vgpu
