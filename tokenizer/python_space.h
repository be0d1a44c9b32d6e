// What Python's str.strip() and str.split() take for whitespace, in UTF-8.
#pragma once

#include <string_view>

namespace weft {

/// Python's str.isspace() of one character (Unicode's Zs, and the bidirectional classes WS, B and S).
constexpr bool is_python_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/// `text` (UTF-8) without whitespace at its start or its end.
std::string_view python_lstrip(std::string_view text);
std::string_view python_rstrip(std::string_view text);
inline std::string_view python_strip(std::string_view text) { return python_rstrip(python_lstrip(text)); }

}  // namespace weft
