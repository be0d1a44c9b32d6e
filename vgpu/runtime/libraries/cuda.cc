// libcuda.so.1: of the driver API only what makes tensor maps; everything else refuses by its name.
#include "vgpu/runtime/encode_tensor_map.h"

extern "C" CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address,
                                           const cuuint64_t* dims, const cuuint64_t* strides, const cuuint32_t* box,
                                           const cuuint32_t* steps, CUtensorMapInterleave interleave,
                                           CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                                           CUtensorMapFloatOOBfill fill) {
  return vgpu::encode_tensor_map(map, type, rank, address, dims, strides, box, steps, interleave, swizzle, promotion,
                                 fill);
}
