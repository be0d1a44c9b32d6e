// mT5's text to ids: SentencePiece, its special pieces where they are written in the text, and an end-of-sentence.
#pragma once

#include "tokenizer/added_tokens.h"
#include "tokenizer/sentencepiece.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

/// The ids of transformers' slow T5Tokenizer with extra_ids 0, which is what mT5 uses.
class T5Tokenizer {
 public:
  /// Throws std::runtime_error naming `file` when the model has no </s>, <pad> or <unk> piece.
  T5Tokenizer(SentencePiece pieces, std::string_view file);

  /// Ids of the text alone; `</s>`, `<pad>` and `<unk>` in it are the pieces of these names.
  std::vector<int> encode(std::string_view text) const;

  /// Cut so that with the end-of-sentence there are at most `max_length`. One that the text ends in counts as it.
  std::vector<int> add_special(std::vector<int> ids, std::size_t max_length) const;

  /// As the sentencepiece library's: control pieces are left out.
  std::string decode(std::span<const int> ids) const { return pieces_.decode(ids); }

  int size() const { return pieces_.size(); }
  int pad_id() const { return pieces_.pad_id(); }

 private:
  SentencePiece pieces_;
  AddedTokens added_;
};

}  // namespace weft
