#include "vgpu/types.h"

#include <array>
#include <utility>

namespace vgpu {
namespace {

struct Entry {
  std::string_view name;
  int bytes;
};

constexpr std::array<Entry, 22> entries{{{"", 0},       {"pred", 0}, {"b8", 1},   {"b16", 2}, {"b32", 4},  {"b64", 8},
                                         {"b128", 16},  {"u8", 1},   {"u16", 2},  {"u32", 4}, {"u64", 8},  {"s8", 1},
                                         {"s16", 2},    {"s32", 4},  {"s64", 8},  {"f16", 2}, {"bf16", 2}, {"f16x2", 4},
                                         {"bf16x2", 4}, {"f32", 4},  {"tf32", 4}, {"f64", 8}}};

}  // namespace

int type_bytes(Type t) { return entries[static_cast<size_t>(t)].bytes; }
bool is_signed(Type t) { return t >= Type::s8 && t <= Type::s64; }
bool is_float(Type t) { return t >= Type::f16; }
bool is_integer(Type t) { return t >= Type::b8 && t <= Type::s64; }
std::string_view type_name(Type t) { return entries[static_cast<size_t>(t)].name; }

Type parse_type(std::string_view word) {
  for (size_t i = 1; i < entries.size(); i++)
    if (entries[i].name == word) return static_cast<Type>(i);
  return Type::none;
}

}  // namespace vgpu
