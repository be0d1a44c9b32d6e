// Tokens that a Hugging Face tokenizer takes out of the text before anything else looks at it: `</s>`, `<mask>`,
// `__en__`. Written in a text, they are the token itself.
#pragma once

#include "tokenizer/piece_trie.h"
#include "tokenizer/python_space.h"

#include <string_view>
#include <vector>

namespace weft {

class AddedTokens {
 public:
  /// `strips_left`: whitespace before the token is dropped (Hugging Face's lstrip).
  void add(std::string_view text, int id, bool strips_left = false) {
    trie_.insert(text, static_cast<int>(tokens_.size()));
    tokens_.push_back({id, strips_left});
  }

  bool contains(int id) const {
    for (const Token& token : tokens_) {
      if (token.id == id) return true;
    }
    return false;
  }

  /// Calls on_text(part) and on_token(id) from the left. Of tokens that overlap the leftmost counts, of those the
  /// longest.
  template <class OnText, class OnToken>
  void split(std::string_view text, OnText on_text, OnToken on_token) const {
    std::size_t start = 0;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = trie_.longest_prefix(text.substr(at));
      if (length == 0) {
        ++at;
        continue;
      }
      const Token& token = tokens_[trie_.find(text.substr(at, length))];
      std::string_view before = text.substr(start, at - start);
      if (token.strips_left) before = python_rstrip(before);
      if (!before.empty()) on_text(before);
      on_token(token.id);
      start = at += length;
    }
    if (start < text.size()) on_text(text.substr(start));
  }

 private:
  struct Token {
    int id;
    bool strips_left;
  };
  PieceTrie trie_;
  std::vector<Token> tokens_;
};

}  // namespace weft
