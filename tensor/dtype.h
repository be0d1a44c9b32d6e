// Element types. f32 and bf16 compute, f64 is the truth that tests compare with, the rest is storage.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "tensor/check.h"

namespace weft {

enum class DType : uint8_t { f32, bf16, f16, f64, i32, i64, u8, boolean };

/// bfloat16: the upper half of an f32. Conversion rounds to nearest even and keeps NaN a NaN.
struct bf16 {
  uint16_t bits = 0;
  bf16() = default;
  bf16(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    bits = static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded);
  }
  bf16(const bf16&) = default;
  // Written out, since gcc 12 does not vectorise a loop that assigns a whole struct.
  bf16& operator=(const bf16& other) {
    bits = other.bits;
    return *this;
  }
  operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

/// IEEE 754 binary16, for storage only.
struct f16 {
  uint16_t bits = 0;
  f16() = default;
  f16(float value) : bits(std::bit_cast<uint16_t>(static_cast<_Float16>(value))) {}
  operator float() const { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
};

int64_t size_of(DType dtype);            // bytes of one element
std::string_view name_of(DType dtype);   // "f32", ..., "bool"
DType dtype_from_name(std::string_view name);
inline bool is_floating(DType dtype) { return dtype <= DType::f64; }

template <class T> inline constexpr DType dtype_of = [] { static_assert(sizeof(T) == 0, "no DType for this C++ type"); return DType::f32; }();
template <> inline constexpr DType dtype_of<float> = DType::f32;
template <> inline constexpr DType dtype_of<bf16> = DType::bf16;
template <> inline constexpr DType dtype_of<f16> = DType::f16;
template <> inline constexpr DType dtype_of<double> = DType::f64;
template <> inline constexpr DType dtype_of<int32_t> = DType::i32;
template <> inline constexpr DType dtype_of<int64_t> = DType::i64;
template <> inline constexpr DType dtype_of<uint8_t> = DType::u8;
template <> inline constexpr DType dtype_of<bool> = DType::boolean;

}  // namespace weft

template <> struct fmt::formatter<weft::DType> : fmt::formatter<std::string_view> {
  template <class Context> auto format(weft::DType d, Context& context) const {
    return fmt::formatter<std::string_view>::format(weft::name_of(d), context);
  }
};
