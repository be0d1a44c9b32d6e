// Text as code points, and what they are.
#pragma once

#include "tokenizer/text_tables.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace weft {

/// Code points of UTF-8; a byte that is no part of a character is U+FFFD.
std::u32string to_code_points(std::string_view text);
std::string to_utf8(std::u32string_view text);

/// Whether `c` is in one of `size` ranges.
inline bool in_ranges(char32_t c, const text_tables::CodePointRange* ranges, std::size_t size) {
  const auto* const end = ranges + size;
  const auto* const range = std::lower_bound(ranges, end, c, [](const auto& r, char32_t x) { return r.last < x; });
  return range != end && range->first <= c;
}

inline bool is_letter(char32_t c) { return in_ranges(c, text_tables::letters, text_tables::letters_size); }
inline bool is_number(char32_t c) { return in_ranges(c, text_tables::numbers, text_tables::numbers_size); }
inline bool is_digit(char32_t c) { return in_ranges(c, text_tables::digits, text_tables::digits_size); }
/// Neither letter, number nor any other part of a word for CLIP: whitespace, and U+0345.
inline bool is_between_words(char32_t c) {
  return in_ranges(c, text_tables::between_words, text_tables::between_words_size);
}
inline bool is_word_character(char32_t c) {
  return in_ranges(c, text_tables::word_characters, text_tables::word_characters_size);
}

/// Python's str.lower(): one character each, but for U+0130, and a capital sigma at the end of a word becomes a final
/// one.
std::u32string python_lower(std::u32string_view text);

/// Unicode's normalisation form C.
std::u32string compose(std::u32string_view text);

}  // namespace weft
