// SentencePiece's text normalisation: replacement rules, whitespace, U+FFFD for bytes that are not UTF-8.
#pragma once

#include "tokenizer/piece_trie.h"
#include "tokenizer/sentencepiece_model.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

/// The rules that SentencePiece calls a precompiled charsmap: little-endian u32 size, then that many bytes of a Darts
/// double-array trie (https://github.com/s-yata/darts-clone), then replacements that end in a zero byte each; the trie
/// maps text to where its replacement starts.
class CharacterMap {
 public:
  /// No rules.
  CharacterMap() = default;

  /// Throws std::runtime_error when the sizes do not fit. `file` and `offset` say where `blob` starts.
  CharacterMap(std::string_view blob, std::string_view file, std::size_t offset);

  struct Match {
    std::size_t length = 0;  ///< bytes of the text that the rule replaces; 0: no rule applies
    std::string_view replacement;
  };

  /// The longest rule that `text` starts with. A trie that points outside itself ends the search there.
  Match longest(std::string_view text) const;

 private:
  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

class TextNormalizer {
 public:
  TextNormalizer() = default;

  /// `protected_pieces` (may be empty) are taken from the text as they are, before any rule applies.
  TextNormalizer(const SentencePieceModel::Normalizer& spec, PieceTrie protected_pieces, std::string_view file);

  std::string operator()(std::string_view text) const;

 private:
  struct Prefix {
    std::string_view normalized;
    std::size_t length;  // bytes of the text that it stands for
  };
  Prefix prefix(std::string_view text) const;

  CharacterMap map_;
  PieceTrie protected_;
  bool add_dummy_prefix_ = true, remove_extra_whitespaces_ = true, escape_whitespaces_ = true,
       whitespace_as_suffix_ = false;
};

}  // namespace weft
