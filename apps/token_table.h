// The texts of a table as token ids, and batches of them as tensors.
#pragma once

#include <span>
#include <vector>

#include "data/glami.h"
#include "tensor/philox.h"
#include "tensor/tensor.h"
#include "tokenizer/sentencepiece.h"

namespace weft {

struct TokenizedBatch {
  Tensor ids;   // i64 [B, T]
  Tensor mask;  // bool [B, T], true = a token
};

/// Ids of every text (name + " " + description, end of sentence appended, cut to max_tokens): about 4 bytes a token in
/// memory.
class TokenTable {
 public:
  /// `with_names`: row size + i is the name of row i without the description, size being the table's.
  TokenTable(const SentencePiece& tokenizer, const GlamiTable& table, int64_t max_tokens, bool with_names = false);
  /// One text.
  TokenTable(const SentencePiece& tokenizer, std::string_view text, int64_t max_tokens);

  /// Padded to max_tokens, or to the longest of the batch if `trim`. In training, every token but the last of a text is
  /// left out with probability `drop`, drawn from `random`.
  TokenizedBatch batch(std::span<const uint32_t> rows, bool trim, double drop = 0, Random* random = nullptr) const;

  /// With probability `share` each, the rows of the names instead of those of the whole texts. Needs `with_names`.
  std::vector<uint32_t> with_some_names(std::span<const uint32_t> rows, double share, Random& random) const;

  /// Tokens of a row, the end of sentence included.
  int64_t length(uint32_t row) const { return static_cast<int64_t>(begin_[row + 1] - begin_[row]); }

 private:
  void append(const SentencePiece& tokenizer, std::string_view text);
  int64_t max_tokens_, pad_ = 0;
  std::vector<int32_t> ids_;
  std::vector<uint64_t> begin_{0};  // of each row in ids_, and the end
};

}  // namespace weft
