// UTF-8 as Unicode 15, table 3-7 defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weft {

/// The UTF-8 bytes of one code point (a scalar value; the caller has checked it).
std::string utf8(char32_t code_point);

/// The UTF-8 bytes of a sequence of code points.
std::string utf8(std::u32string_view code_points);

/// Offset of the first byte that is no part of valid UTF-8, or npos.
size_t find_invalid_utf8(std::string_view text);

}  // namespace weft
