#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <library_types.h>

#include <bit>
#include <cstdint>
#include <string>

namespace vgpu {

/// Bytes of an element; 0 for types that the stand-ins do not compute with.
inline size_t element_bytes(cudaDataType type) {
  switch (type) {
    case CUDA_R_32F: return 4;
    case CUDA_R_16BF:
    case CUDA_R_16F: return 2;
    default: return 0;
  }
}

inline float load(const void* data, int64_t index, cudaDataType type) {
  switch (type) {
    case CUDA_R_16BF: return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[index]);
    case CUDA_R_16F: return __half2float(static_cast<const __half*>(data)[index]);
    default: return static_cast<const float*>(data)[index];
  }
}

inline void store(void* data, int64_t index, cudaDataType type, float value) {
  switch (type) {
    case CUDA_R_16BF: static_cast<__nv_bfloat16*>(data)[index] = __float2bfloat16(value); break;
    case CUDA_R_16F: static_cast<__half*>(data)[index] = __float2half(value); break;
    default: static_cast<float*>(data)[index] = value;
  }
}

/// What tensor cores see of an f32 operand.
enum class Rounding { none, tf32, bf16, f16 };

/// TF32 keeps 10 bits of the mantissa; ties go away from zero, as cvt.rna.tf32 does.
inline float round_operand(float value, Rounding rounding) {
  switch (rounding) {
    case Rounding::tf32: {
      auto bits = std::bit_cast<uint32_t>(value);
      bool finite = (bits & 0x7f800000u) != 0x7f800000u;
      return finite ? std::bit_cast<float>((bits + 0x1000u) & ~0x1fffu) : value;
    }
    case Rounding::bf16: return __bfloat162float(__float2bfloat16(value));
    case Rounding::f16: return __half2float(__float2half(value));
    default: return value;
  }
}

/// The unit's peak as a part of the f16 tensor peak.
inline double rate_of_f16(cudaDataType type, Rounding rounding) {
  if (type != CUDA_R_32F || rounding == Rounding::bf16 || rounding == Rounding::f16) return 1;
  return rounding == Rounding::tf32 ? 0.5 : 1.0 / 15;
}

}  // namespace vgpu
