#include "tokenizer/html_unescape.h"

#include "tokenizer/characters.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

namespace weft {
namespace {

using text_tables::Entity;

bool is_ascii_digit(char32_t c) { return c >= '0' && c <= '9'; }
bool is_hex_digit(char32_t c) { return is_ascii_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_ascii_alphanumeric(char32_t c) {
  return is_ascii_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

const char* find_entity(const Entity* entities, std::size_t size, std::string_view name) {
  const auto* const end = entities + size;
  const auto* const found = std::lower_bound(
      entities, end, name, [](const Entity& entity, std::string_view wanted) { return entity.name < wanted; });
  return found != end && found->name == name ? found->text : nullptr;
}

/// The text of a name as it stands after '&'; nullptr where HTML has no such name.
const char* entity(std::u32string_view name) {
  if (std::any_of(name.begin(), name.end(), [](char32_t c) { return c >= 0x80; })) return nullptr;
  return find_entity(text_tables::entities, text_tables::entities_size, to_utf8(name));
}

/// What a number stands for: nothing for control characters and noncharacters, Windows-1252 for 0x80 to 0x9f.
std::u32string numbered(std::uint32_t number) {
  if (number == 0 || (number >= 0xd800 && number <= 0xdfff) || number > 0x10ffff) return U"\ufffd";
  if (number == 0x0d) return U"\r";
  if (number >= 0x80 && number <= 0x9f) return std::u32string(1, text_tables::encodings[1].high[number - 0x80]);
  const bool control = number <= 8 || number == 0x0b || (number >= 0x0e && number <= 0x1f) || number == 0x7f;
  const bool no_character = (number >= 0xfdd0 && number <= 0xfdef) || (number & 0xfffe) == 0xfffe;
  if (control || no_character) return U"";
  return std::u32string(1, number);
}

struct Reference {
  std::size_t length = 0;  // with '&'; 0: none
  std::u32string text;
};

/// &#123; and &#x7b; at the start of `text`, the semicolon being optional.
Reference numeric_reference(std::u32string_view text) {
  if (text.size() < 3 || text[1] != '#') return {};
  const bool hex = text[2] == 'x' || text[2] == 'X';
  const std::size_t start = hex ? 3 : 2;
  std::size_t end = start;
  std::uint32_t number = 0;
  while (end < text.size() && (hex ? is_hex_digit(text[end]) : is_ascii_digit(text[end]))) {
    const std::uint32_t digit = is_ascii_digit(text[end]) ? text[end] - '0' : (text[end] | 0x20) - 'a' + 10;
    number = std::min<std::uint32_t>(number * (hex ? 16 : 10) + digit, 0x110000);  // saturates: all above is the same
    ++end;
  }
  if (end == start) return {};
  if (end < text.size() && text[end] == ';') ++end;
  return {end, numbered(number)};
}

/// &name at the start of `text`: up to 32 characters and an optional semicolon.
Reference named_reference(std::u32string_view text) {
  constexpr std::u32string_view ends_name = U"\t\n\f <&#;";
  std::size_t end = 1;
  while (end < text.size() && end <= 32 && ends_name.find(text[end]) == ends_name.npos) ++end;
  if (end == 1) return {};
  if (end < text.size() && text[end] == ';') ++end;
  const std::u32string_view name = text.substr(1, end - 1);
  if (const char* const whole = entity(name)) return {end, to_code_points(whole)};
  for (std::size_t length = name.size() - 1; length > 1; --length) {
    if (const char* const part = entity(name.substr(0, length))) {
      return {end, to_code_points(part).append(name.substr(length))};
    }
  }
  return {end, std::u32string(text.substr(0, end))};
}

template <class Read>
std::u32string replace_references(std::u32string_view text, Read read) {
  std::u32string out;
  while (true) {
    const std::size_t at = text.find(U'&');
    out += text.substr(0, at);
    if (at == text.npos) return out;
    text.remove_prefix(at);
    const Reference reference = read(text);
    out += reference.length ? reference.text : U"&";
    text.remove_prefix(std::max<std::size_t>(reference.length, 1));
  }
}

}  // namespace

std::u32string html_unescape(std::u32string_view text) {
  return replace_references(text, [](std::u32string_view rest) {
    Reference reference = numeric_reference(rest);
    return reference.length ? reference : named_reference(rest);
  });
}

std::u32string ftfy_unescape(std::u32string_view text) {
  return replace_references(text, [](std::u32string_view rest) -> Reference {
    const bool numeric = rest.size() > 1 && rest[1] == '#';
    const std::size_t start = numeric ? 2 : 1;
    std::size_t end = start;
    while (end < rest.size() && end - start < 24 && is_ascii_alphanumeric(rest[end])) ++end;
    if (end == start || end == rest.size() || rest[end] != ';') return {};
    ++end;
    const std::u32string_view whole = rest.substr(0, end);
    if (numeric) {
      std::u32string unescaped = html_unescape(whole);
      const bool left_over = unescaped.find(U';') != unescaped.npos;
      return {end, left_over ? std::u32string(whole) : std::move(unescaped)};
    }
    const std::string name = to_utf8(whole.substr(1));
    const char* found = find_entity(text_tables::entities, text_tables::entities_size, name);
    if (!found) found = find_entity(text_tables::capital_entities, text_tables::capital_entities_size, name);
    return {end, found ? to_code_points(found) : std::u32string(whole)};
  });
}

}  // namespace weft
