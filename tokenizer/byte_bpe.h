// Byte-level byte-pair encoding as CLIP has it (https://github.com/openai/CLIP, simple_tokenizer.py): a word is bytes,
// the last of them marked as the end of a word, and the pairs that the merges file lists are joined, those listed first
// first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace weft {

class ByteBpe {
 public:
  /// Reads the text of a merges file: one line that is skipped, then one pair a line, at most `max_merges`; what
  /// follows is not read. Every half must be a byte or have been made by a line before. `file` names it in errors.
  /// Throws std::runtime_error in one line with file, line, expected and found.
  ByteBpe(std::string_view merges, std::size_t max_merges, std::string_view file);

  /// Appends the ids of one word (not empty).
  void encode(std::string_view word, std::vector<int>& ids) const;

  int size() const { return static_cast<int>(texts_.size()); }

  /// The bytes of a token, and whether it ends a word.
  struct Token {
    std::string bytes;
    bool ends_word = false;
  };
  const Token& token(int id) const { return texts_[id]; }

 private:
  struct Merge {
    std::uint32_t rank;
    int id;
  };
  static std::uint64_t key(int left, int right) { return static_cast<std::uint64_t>(left) << 32 | right; }

  std::vector<Token> texts_;
  std::unordered_map<std::uint64_t, Merge> merges_;
  int byte_ids_[256];
};

}  // namespace weft
