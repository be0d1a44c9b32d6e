// PTX types, address windows and the small vocabulary that the parser and the interpreter share.
#pragma once

#include <cstdint>
#include <string_view>

namespace vgpu {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using i8 = int8_t;
using i16 = int16_t;
using i32 = int32_t;
using i64 = int64_t;

constexpr int warp_size = 32;
constexpr u32 full_mask = ~0u;

enum class Type : u8 {
  none,
  pred,
  b8,
  b16,
  b32,
  b64,
  b128,
  u8,
  u16,
  u32,
  u64,
  s8,
  s16,
  s32,
  s64,
  f16,
  bf16,
  f16x2,
  bf16x2,
  f32,
  tf32,
  f64
};

// Bytes of a value; 0 for a predicate and for no type.
int type_bytes(Type t);
bool is_signed(Type t);                  // s8 to s64
bool is_float(Type t);                   // f16 to f64, packed ones included
bool is_integer(Type t);                 // b, u and s
Type parse_type(std::string_view word);  // "f32"; none if it is no type
std::string_view type_name(Type t);

enum class Space : u8 { generic, global, shared, local, constant, param };

// Generic addresses of memory that has no host address. An address in a window is the window plus an offset.
constexpr int window_shift = 56;
constexpr u64 shared_window = u64{0x71} << window_shift, local_window = u64{0x72} << window_shift,
              param_window = u64{0x73} << window_shift, window_offset = (u64{1} << window_shift) - 1;

}  // namespace vgpu
