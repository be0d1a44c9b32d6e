#include "tokenizer/fix_text.h"

#include "tokenizer/characters.h"
#include "tokenizer/html_unescape.h"
#include "tokenizer/mojibake.h"
#include "tokenizer/python_space.h"
#include "tokenizer/utf8.h"

#include <algorithm>
#include <utility>

namespace weft {
namespace {

using text_tables::Replacement;

constexpr std::size_t max_segment = 1'000'000;  // ftfy's max_decode_length

void append_replaced(char32_t c, const Replacement* table, std::size_t size, std::u32string& out) {
  const auto* const end = table + size;
  const auto* const found = std::lower_bound(
      table, end, c, [](const Replacement& entry, char32_t wanted) { return entry.character < wanted; });
  if (found == end || found->character != c) {
    out += c;
  } else {
    out += to_code_points(found->text);
  }
}

std::u32string replace_each(std::u32string_view text, const Replacement* table, std::size_t size) {
  std::u32string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_replaced(c, table, size, out);
  return out;
}

std::u32string fix_ligatures_and_widths(std::u32string_view text) {
  using text_tables::ligatures_size;
  const std::u32string parts = replace_each(text, text_tables::replacements, ligatures_size);
  return replace_each(parts, text_tables::replacements + ligatures_size,
                      text_tables::replacements_size - ligatures_size);
}

char32_t uncurled(char32_t c) {
  if (c >= 0x201c && c <= 0x201f) return '"';
  return c == 0x2bc || (c >= 0x2018 && c <= 0x201b) ? U'\'' : c;
}

std::u32string fix_quotes_and_line_breaks(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    const bool line_break = c == '\r' || c == 0x2028 || c == 0x2029 || c == 0x85;
    out += line_break ? U'\n' : uncurled(c);
  }
  return out;
}

/// Colours and the like: ESC, "[", digits and semicolons, a letter.
std::u32string remove_terminal_escapes(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == 0x1b && i + 1 < text.size() && text[i + 1] == '[') {
      std::size_t end = i + 2;
      while (end < text.size() && (text[end] == ';' || is_digit(text[end]))) ++end;
      const char32_t last = end < text.size() ? text[end] | 0x20 : 0;
      if (last >= 'a' && last <= 'z') {
        i = end + 1;
        continue;
      }
    }
    out += text[i++];
  }
  return out;
}

bool is_removed_control(char32_t c) {
  return c <= 0x08 || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || (c >= 0x206a && c <= 0x206f) ||
         c == 0xfeff || (c >= 0xfff9 && c <= 0xfffc);
}

std::u32string fix_segment(std::u32string_view segment, bool unescape) {
  std::u32string text(segment);
  unescape = unescape && text.find(U'<') == text.npos;
  while (true) {
    std::u32string fixed = unescape ? ftfy_unescape(text) : text;
    fixed = fix_c1_controls(fix_encoding(std::move(fixed)));
    fixed = fix_quotes_and_line_breaks(fix_ligatures_and_widths(fixed));
    fixed = remove_terminal_escapes(fixed);
    std::erase_if(fixed, is_removed_control);
    fixed = compose(fixed);
    if (fixed == text) return text;
    text = std::move(fixed);
  }
}

std::u32string collapse_whitespace(std::u32string_view text) {
  std::u32string out;
  bool space = false;
  for (const char32_t c : text) {
    if (is_python_space(c)) {
      space = !out.empty();
      continue;
    }
    if (space) out += U' ';
    space = false;
    out += c;
  }
  return out;
}

}  // namespace

std::u32string fix_text(std::u32string_view text) {
  std::u32string out;
  bool unescape = true;  // until a '<' shows that this is HTML
  while (!text.empty()) {
    const std::size_t line = text.find(U'\n');
    const std::size_t size = std::min({line == text.npos ? text.size() : line + 1, text.size(), max_segment});
    const std::u32string_view segment = text.substr(0, size);
    unescape = unescape && segment.find(U'<') == segment.npos;
    out += fix_segment(segment, unescape);
    text.remove_prefix(size);
  }
  return out;
}

std::u32string clean_for_clip(std::u32string_view text) {
  return python_lower(collapse_whitespace(html_unescape(html_unescape(fix_text(text)))));
}

}  // namespace weft
