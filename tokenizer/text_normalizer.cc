#include "tokenizer/text_normalizer.h"

#include "tensor/check.h"
#include "tokenizer/utf8.h"

#include <utility>

namespace weft {
namespace {

constexpr std::string_view space_symbol = "\xe2\x96\x81";  // U+2581

std::uint32_t little_endian_u32(std::string_view bytes) {
  std::uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// A unit of a Darts double array. The node that `byte` leads to is at (node ^ offset ^ byte) and carries `byte` as its
// label; a node that ends a key has its value in the unit at (node ^ offset).
struct Unit {
  std::uint32_t bits;

  bool has_value() const { return bits >> 8 & 1; }
  std::uint32_t value() const { return bits & 0x7fffffff; }
  // The top bit marks a value, so that a value never passes for a node.
  std::uint32_t label() const { return bits & 0x800000ff; }
  std::uint32_t offset() const { return (bits >> 10) << ((bits & 0x200) >> 6); }
};

}  // namespace

CharacterMap::CharacterMap(std::string_view blob, std::string_view file, std::size_t offset) {
  if (blob.empty()) return;
  check_input(blob.size() > 4, "{}: byte {}: expected a character map of more than 4 bytes, found {}", file, offset,
              blob.size());
  const std::size_t trie_size = little_endian_u32(blob);
  const std::size_t left = blob.size() - 4;
  check_input(trie_size < left && trie_size % 4 == 0 && trie_size > 0,
              "{}: byte {}: expected the size of a trie (a multiple of 4 below {}), found {}", file, offset, left,
              trie_size);
  check_input(blob.back() == '\0', "{}: byte {}: expected a zero byte at the end of the replacements, found {}", file,
              offset + blob.size() - 1, static_cast<int>(static_cast<unsigned char>(blob.back())));
  units_.resize(trie_size / 4);
  for (std::size_t i = 0; i < units_.size(); ++i) units_[i] = little_endian_u32(blob.substr(4 + 4 * i, 4));
  replacements_ = blob.substr(4 + trie_size);
}

CharacterMap::Match CharacterMap::longest(std::string_view text) const {
  Match match;
  if (units_.empty()) return match;
  std::size_t node = Unit{units_[0]}.offset();
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (node >= units_.size()) break;
    const Unit unit{units_[node]};
    if (unit.label() != byte) break;
    node ^= unit.offset();
    if (!unit.has_value()) continue;
    if (node >= units_.size()) break;
    const std::size_t start = Unit{units_[node]}.value();
    if (start >= replacements_.size()) break;
    match.length = i + 1;
    match.replacement = std::string_view(replacements_.data() + start);
  }
  return match;
}

TextNormalizer::TextNormalizer(const SentencePieceModel::Normalizer& spec, PieceTrie protected_pieces,
                               std::string_view file)
    : map_(spec.charsmap, file, spec.charsmap_offset),
      protected_(std::move(protected_pieces)),
      add_dummy_prefix_(spec.add_dummy_prefix),
      remove_extra_whitespaces_(spec.remove_extra_whitespaces),
      escape_whitespaces_(spec.escape_whitespaces),
      whitespace_as_suffix_(spec.whitespace_as_suffix) {}

TextNormalizer::Prefix TextNormalizer::prefix(std::string_view text) const {
  if (const std::size_t length = protected_.longest_prefix(text)) return {text.substr(0, length), length};
  if (const CharacterMap::Match match = map_.longest(text); match.length) return {match.replacement, match.length};
  const std::size_t length = utf8_valid_length(text);
  return length ? Prefix{text.substr(0, length), length} : Prefix{replacement_character, 1};
}

std::string TextNormalizer::operator()(std::string_view text) const {
  std::string out;
  if (remove_extra_whitespaces_) {
    while (!text.empty()) {
      const Prefix p = prefix(text);
      if (p.normalized != " ") break;
      text.remove_prefix(p.length);
    }
  }
  if (text.empty()) return out;

  out.reserve(text.size() + text.size() / 2 + 16);
  const std::string_view space = escape_whitespaces_ ? space_symbol : " ";
  if (add_dummy_prefix_ && !whitespace_as_suffix_) out += space;

  bool after_space = remove_extra_whitespaces_;
  while (!text.empty()) {
    const Prefix p = prefix(text);
    text.remove_prefix(p.length);
    std::string_view part = p.normalized;
    while (after_space && part.starts_with(' ')) part.remove_prefix(1);
    // A part that was only spaces, or a rule that deletes, leaves the state as it was.
    if (!part.empty()) after_space = remove_extra_whitespaces_ && part.ends_with(' ');
    for (const char c : part) {
      if (c == ' ') {
        out += space;
      } else {
        out += c;
      }
    }
  }
  if (remove_extra_whitespaces_) {
    while (out.ends_with(space)) out.erase(out.size() - space.size());
  }
  if (add_dummy_prefix_ && whitespace_as_suffix_) out += space;
  return out;
}

}  // namespace weft
