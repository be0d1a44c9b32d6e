// Neighbouring channels of a pixel as one vector of f32 (gcc's vector extensions): 16 with AVX-512, else 8, as AVX2 has
// them. A step of the convolutions by hand keeps its sums in registers, of which there are 32 and 16.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "tensor/dtype.h"

// Without AVX gcc notes that such vectors are passed in memory; they never leave an object file.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace weft {

#ifdef __AVX512F__
inline constexpr int lanes = 16, registers = 32;
#else
inline constexpr int lanes = 8, registers = 16;
#endif

/// Whether a program is compiled for processors that multiply and add at once. One for any processor leaves to oneDNN, which
/// looks at the one that it runs on, what oneDNN does as well.
#ifdef __FMA__
inline constexpr bool fused = true;
#else
inline constexpr bool fused = false;
#endif

/// Whether products and convolutions are by hand where that is faster with AVX2 and has not been timed with AVX-512.
inline constexpr bool by_hand = fused && registers == 16;

typedef float Vector __attribute__((vector_size(lanes * sizeof(float)), aligned(alignof(float)), may_alias));
typedef uint32_t Words __attribute__((vector_size(lanes * sizeof(uint32_t))));
typedef uint16_t Halves __attribute__((vector_size(lanes * sizeof(uint16_t))));

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }

// A pixel's channels as f32 and back. Written with vectors, since gcc would vectorise such loops across pixels.
inline Vector load_pixel(const float* from) { return load(from); }
inline Vector load_pixel(const bf16* from) {
  Halves halves;
  std::memcpy(&halves, from, sizeof(halves));
  return std::bit_cast<Vector>(__builtin_convertvector(halves, Words) << 16);
}
inline void store_pixel(float* to, Vector v) { *reinterpret_cast<Vector*>(to) = v; }
inline void store_pixel(bf16* to, Vector v) {
  const Words u = std::bit_cast<Words>(v), rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const Words bits = (u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded;
  const Halves halves = __builtin_convertvector(bits, Halves);
  std::memcpy(static_cast<void*>(to), &halves, sizeof(halves));
}

}  // namespace weft
