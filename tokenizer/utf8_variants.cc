#include "tokenizer/utf8_variants.h"

#include "tokenizer/utf8.h"

#include <initializer_list>

namespace weft {
namespace {

int byte_at(std::string_view bytes, std::size_t i) {
  return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : -1;
}

bool between(int byte, int first, int last) { return byte >= first && byte <= last; }
bool is_trail(int byte) { return between(byte, 0x80, 0xbf); }
// Continuation bytes but for 0x85, and 0xa0 itself.
bool is_trail_beside_space(int byte) { return is_trail(byte) && byte != 0x85 && byte != 0xa0; }

/// Length of a sequence at the start of `bytes` in which a space stands for 0xa0, or 0.
std::size_t altered_length(std::string_view bytes) {
  const int a = byte_at(bytes, 0), b = byte_at(bytes, 1), c = byte_at(bytes, 2), d = byte_at(bytes, 3);
  if ((a == 0xc2 || a == 0xc3 || a == 0xc5 || a == 0xce || a == 0xd0 || a == 0xd9) && b == ' ') return 2;
  if ((a == 0xe2 || a == 0xe3) && b == ' ' && is_trail_beside_space(c)) return 3;
  if (between(a, 0xe0, 0xe3) && is_trail_beside_space(b) && c == ' ') return 3;
  if (a != 0xf0) return 0;
  const bool altered = (b == ' ' && is_trail(c) && is_trail(d)) || (is_trail(b) && c == ' ' && is_trail(d)) ||
                       (is_trail(b) && is_trail(c) && d == ' ');
  return altered ? 4 : 0;
}

bool is_lost(int byte) { return byte == 0x1a; }
bool is_lost_or_question(int byte) { return byte == 0x1a || byte == '?'; }
bool is_trail_or_lost(int byte) { return is_trail(byte) || is_lost(byte); }

/// Length of a sequence at the start of `bytes` of which some were lost, or 0.
std::size_t lossy_length(std::string_view bytes) {
  const int a = byte_at(bytes, 0), b = byte_at(bytes, 1), c = byte_at(bytes, 2), d = byte_at(bytes, 3),
            e = byte_at(bytes, 4), f = byte_at(bytes, 5);
  if (between(a, 0xc2, 0xdf) && is_lost(b)) return 2;
  if (between(a, 0xc2, 0xc3) && b == '?') return 2;
  if (a == 0xed && between(b, 0xa0, 0xaf) && d == 0xed && between(e, 0xb0, 0xbf)) {
    const bool third = is_lost_or_question(c), last = is_lost_or_question(f);
    if ((third || last) && (third || is_trail(c)) && (last || is_trail(f))) return 6;
  }
  if (between(a, 0xe0, 0xef) && ((is_lost_or_question(b) && is_trail_or_lost(c)) ||
                                 (is_trail_or_lost(b) && is_lost_or_question(c)))) {
    return 3;
  }
  if (between(a, 0xf0, 0xf4)) {
    const bool at_b = is_lost_or_question(b) && is_trail_or_lost(c) && is_trail_or_lost(d);
    const bool at_c = is_trail_or_lost(b) && is_lost_or_question(c) && is_trail_or_lost(d);
    const bool at_d = is_trail_or_lost(b) && is_trail_or_lost(c) && is_lost_or_question(d);
    if (at_b || at_c || at_d) return 4;
  }
  return is_lost(a) ? 1 : 0;
}

/// "Ã " before a word was "à ": the space is kept beside the byte, but for Portuguese àquele, àquela, àquilo and às.
std::string restore_a_grave(std::string_view bytes) {
  std::string out;
  for (std::size_t at; (at = bytes.find("\xc3 ")) != bytes.npos; bytes.remove_prefix(at + 2)) {
    const std::string_view rest = bytes.substr(at + 2);
    bool joined = false;
    for (const char* start : {" ", "quele", "quela", "quilo", "s "}) joined |= rest.starts_with(start);
    out += bytes.substr(0, at);
    out += joined ? "\xc3 " : "\xc3\xa0 ";
  }
  return out.append(bytes);
}

/// A surrogate pair, each half in three bytes. A line feed at the very end passes for the last byte, as in ftfy.
bool is_cesu8(std::string_view bytes) {
  return bytes.size() >= 6 && byte_at(bytes, 0) == 0xed && between(byte_at(bytes, 1), 0xa0, 0xaf) &&
         is_trail(byte_at(bytes, 2)) && byte_at(bytes, 3) == 0xed && between(byte_at(bytes, 4), 0xb0, 0xbf) &&
         (is_trail(byte_at(bytes, 5)) || (bytes.size() == 6 && bytes[5] == '\n'));
}

}  // namespace

std::string restore_byte_a0(std::string bytes) {
  bool altered = false;
  for (std::size_t i = 0; i < bytes.size() && !altered; ++i) {
    altered = altered_length(std::string_view(bytes).substr(i)) > 0;
  }
  if (!altered) return bytes;
  bytes = restore_a_grave(bytes);
  for (std::size_t i = 0; i < bytes.size();) {
    const std::size_t length = altered_length(std::string_view(bytes).substr(i));
    for (std::size_t k = i; k < i + length; ++k) {
      if (bytes[k] == ' ') bytes[k] = '\xa0';
    }
    i += length ? length : 1;
  }
  return bytes;
}

std::string replace_lossy_sequences(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const std::size_t length = lossy_length(bytes);
    out += length ? replacement_character : bytes.substr(0, 1);
    bytes.remove_prefix(length ? length : 1);
  }
  return out;
}

std::optional<std::u32string> decode_utf8_variants(std::string_view bytes) {
  std::u32string out;
  while (!bytes.empty()) {
    const auto [c, length] = utf8_decode(bytes);
    if (utf8_valid_length(bytes) > 0) {
      out += c;
      bytes.remove_prefix(length);
    } else if (byte_at(bytes, 0) == 0xc0 && (byte_at(bytes, 1) == 0x80 || bytes == "\xc0\n")) {
      out += U'\0';
      bytes.remove_prefix(2);
    } else if (is_cesu8(bytes)) {
      const auto bits = [&](std::size_t i, int mask) { return static_cast<char32_t>(byte_at(bytes, i) & mask); };
      out += ((bits(1, 0x0f) << 16) + (bits(2, 0x3f) << 10) + (bits(4, 0x0f) << 6) + bits(5, 0x3f)) + 0x10000;
      bytes.remove_prefix(6);
    } else {
      return std::nullopt;
    }
  }
  return out;
}

}  // namespace weft
