// UTF-8, one character at a time, exactly as SentencePiece reads it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace weft {

inline constexpr std::string_view replacement_character = "\xef\xbf\xbd";  // U+FFFD

/// Length that the first byte announces, 1 to 4; a byte that cannot start a character counts as 1.
inline std::uint32_t utf8_announced_length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/// Length of the well-formed character that `text` (not empty) starts with, or 0: no overlong forms, surrogates or code
/// points above U+10FFFF.
inline std::size_t utf8_valid_length(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto trail = [&](std::size_t i) { return (at(i) & 0xc0) == 0x80; };
  const unsigned char first = at(0);
  if (first < 0x80) return 1;
  if (first < 0xe0) return first >= 0xc2 && text.size() >= 2 && trail(1) ? 2 : 0;
  if (first < 0xf0) {
    if (text.size() < 3 || !trail(1) || !trail(2)) return 0;
    const bool overlong = first == 0xe0 && at(1) < 0xa0;
    const bool surrogate = first == 0xed && at(1) >= 0xa0;
    return overlong || surrogate ? 0 : 3;
  }
  if (first > 0xf4 || text.size() < 4 || !trail(1) || !trail(2) || !trail(3)) return 0;
  const bool overlong = first == 0xf0 && at(1) < 0x90;
  const bool too_high = first == 0xf4 && at(1) >= 0x90;
  return overlong || too_high ? 0 : 4;
}

}  // namespace weft
