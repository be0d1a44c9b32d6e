// f16 and bf16 as bits: exact widening, narrowing with one rounding.
#pragma once

#include <bit>
#include <cmath>

#include "vgpu/types.h"

namespace vgpu {

inline float f32(u32 bits) { return std::bit_cast<float>(bits); }
inline u32 bits(float v) { return std::bit_cast<u32>(v); }

inline float from_f16(u16 v) { return static_cast<float>(std::bit_cast<_Float16>(v)); }
inline float from_bf16(u16 v) { return f32(static_cast<u32>(v) << 16); }

// To nearest even; NaN becomes 0x7fff, as on the GPU.
inline u16 to_f16(float v) { return v != v ? 0x7fff : std::bit_cast<u16>(static_cast<_Float16>(v)); }
inline u16 to_bf16(float v) {
  const u32 u = bits(v);
  return v != v ? 0x7fff : static_cast<u16>((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

// Rounds to the format with the last bit set where anything was lost: a second rounding to a format with at least two
// bits less is then as good as one.
inline float to_f32_odd(double v) {
  const float f = static_cast<float>(v);
  if (static_cast<double>(f) == v || v != v || std::isinf(f))
    return std::isinf(f) && !std::isinf(v) ? std::copysign(0x1.fffffep127f, f) : f;
  u32 u = bits(f);
  if (std::fabs(static_cast<double>(f)) > std::fabs(v)) u--;  // towards zero
  return f32(u | 1);
}

// a * b + c with the exact value's rounding to odd in double; the product of two halves is exact.
inline double fma_odd(double a, double b, double c) {
  const double p = a * b, s = p + c;
  if (!std::isfinite(s)) return s;
  const double t = s - p, error = (p - (s - t)) + (c - t);
  if (error == 0) return s;
  u64 u = std::bit_cast<u64>(s);
  if (u & 1) return s;  // odd already
  const bool away = (error > 0) == (s > 0);
  return std::bit_cast<double>(away ? u + 1 : u - 1);
}

}  // namespace vgpu
