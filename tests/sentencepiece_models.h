// SentencePiece models written by hand, field by field, for what spm_train never makes.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weft::handmade {

inline std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out += static_cast<char>(value);
}

inline std::string integer(std::uint32_t field, std::uint64_t value) { return varint(field << 3) + varint(value); }

inline std::string bytes(std::uint32_t field, std::string_view value) {
  return varint(field << 3 | 2) + varint(value.size()) + std::string(value);
}

inline std::string real(std::uint32_t field, float value) {
  std::string out = varint(field << 3 | 5);
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(std::bit_cast<std::uint32_t>(value) >> shift);
  return out;
}

/// A field of ModelProto: one piece; types are those of PieceType.
inline std::string piece(std::string_view text, float score, int type = 1) {
  return bytes(1, bytes(1, text) + real(2, score) + integer(3, type));
}

inline std::string trainer(const std::string& fields) { return bytes(2, fields); }
inline std::string normalizer(const std::string& fields) { return bytes(3, fields); }

/// No dummy prefix and no change to whitespace: what goes in is what is cut.
inline std::string verbatim() { return normalizer(integer(3, 0) + integer(4, 0) + integer(5, 0)); }

/// A BPE model in which most pieces are unused, so that what was merged is taken apart again, some of it in two ways.
inline std::string bpe_with_unused_pieces() {
  std::string model = piece("<unk>", 0, 2) + piece("</s>", 0, 3);
  for (const char* letter : {"a", "b", "g"}) model += piece(letter, -9);
  float score = -1;
  for (const char* text : {"ab", "ba", "aa", "abg", "bab", "aba", "abab", "ga", "gb", "gab", "bga", "aag", "abba"}) {
    model += piece(text, score, score < -1.6f ? 5 : 1);
    score -= 0.2f;
  }
  return model + piece("aaa", -1, 5) + piece("bg", -1, 5) + piece("gg", -1.2f, 5) + piece("gbgb", 0, 4) +
         piece("fi", 0, 4) + trainer(integer(3, 2)) + verbatim();
}

/// Three letters, whose runs can be cut in many ways of equal or nearly equal score, beside an unused and a
/// user-defined piece.
inline std::string many_ties() {
  std::string model = piece("<unk>", 0, 2) + piece("</s>", 0, 3);
  const std::vector<std::string> letters = {"a", "b", "g"};
  float score = -3;
  for (const auto& x : letters) {
    model += piece(x, score);
    for (const auto& y : letters) {
      model += piece(x + y, 2 * score + (x == y ? 0 : 0.1f));
      for (const auto& z : letters) model += piece(x + y + z, 3 * score);
    }
    score -= 0.1f;
  }
  return model + piece("aaaa", -0.5f, 5) + piece("gbgb", 0, 4) + piece("gbgba", 0, 4) + piece("abab", -1) + verbatim();
}

}  // namespace weft::handmade
