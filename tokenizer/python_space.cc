#include "tokenizer/python_space.h"

#include "tokenizer/utf8.h"

namespace weft {

std::string_view python_lstrip(std::string_view text) {
  while (!text.empty()) {
    const auto [c, length] = utf8_decode(text);
    if (!is_python_space(c)) break;
    text.remove_prefix(length);
  }
  return text;
}

std::string_view python_rstrip(std::string_view text) {
  while (!text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80) --start;
    const auto [c, length] = utf8_decode(text.substr(start));
    if (length != text.size() - start || !is_python_space(c)) break;
    text.remove_suffix(length);
  }
  return text;
}

}  // namespace weft
