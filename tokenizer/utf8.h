// UTF-8, one character at a time, exactly as SentencePiece reads it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
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

/// Length of what `text` (not empty, and not starting with a well-formed character) starts with that could still have
/// become one: Unicode's maximal subpart, at least 1.
inline std::size_t utf8_broken_length(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = at(0);
  if (first < 0xc2 || first > 0xf4 || text.size() < 2) return 1;
  const unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (first < 0xe0 || at(1) < low || at(1) > high) return 1;
  const bool third = first >= 0xf0 && text.size() >= 3 && (at(2) & 0xc0) == 0x80;
  return third ? 3 : 2;
}

struct Utf8Character {
  char32_t code_point;
  std::size_t length;
};

/// The character that `text` (not empty) starts with; a byte that is no part of one is U+FFFD of length 1.
inline Utf8Character utf8_decode(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[i])); };
  const auto trail = [&](std::size_t i) { return at(i) & 0x3f; };
  switch (utf8_valid_length(text)) {
    case 1: return {at(0), 1};
    case 2: return {(at(0) & 0x1f) << 6 | trail(1), 2};
    case 3: return {(at(0) & 0x0f) << 12 | trail(1) << 6 | trail(2), 3};
    case 4: return {(at(0) & 0x07) << 18 | trail(1) << 12 | trail(2) << 6 | trail(3), 4};
    default: return {0xfffd, 1};
  }
}

/// Appends a code point of at most U+10FFFF.
inline void append_utf8(char32_t c, std::string& out) {
  const auto trail = [&](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3f)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += {static_cast<char>(0xc0 | c >> 6), trail(0)};
  } else if (c < 0x10000) {
    out += {static_cast<char>(0xe0 | c >> 12), trail(6), trail(0)};
  } else {
    out += {static_cast<char>(0xf0 | c >> 18), trail(12), trail(6), trail(0)};
  }
}

}  // namespace weft
