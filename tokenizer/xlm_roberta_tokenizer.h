// XLM-RoBERTa's text to ids: SentencePiece ids moved up by one to make room for fairseq's special tokens.
#pragma once

#include "tokenizer/added_tokens.h"
#include "tokenizer/sentencepiece.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

/// The ids of transformers' slow XLMRobertaTokenizer: <s> 0, <pad> 1, </s> 2, <unk> 3, then piece id + 1, and <mask>
/// after the last piece.
class XlmRobertaTokenizer {
 public:
  static constexpr int bos = 0, pad = 1, eos = 2, unk = 3;

  explicit XlmRobertaTokenizer(SentencePiece pieces);

  /// Ids of the text alone; special tokens written in it are themselves.
  std::vector<int> encode(std::string_view text) const;

  /// <s> ids </s>, cut to `max_length` (at least 2) with both kept.
  std::vector<int> add_special(std::vector<int> ids, std::size_t max_length) const;

  /// Text of the ids without special tokens. Throws std::invalid_argument for an id that the model does not have.
  std::string decode(std::span<const int> ids) const;

  int size() const { return mask_id() + 1; }
  int pad_id() const { return pad; }
  int mask_id() const { return pieces_.size() + 1; }

 private:
  SentencePiece pieces_;
  AddedTokens added_;
};

}  // namespace weft
