// One door to every tokenizer: which one it is follows from the files that a model came with.
#pragma once

#include "tokenizer/clip_tokenizer.h"
#include "tokenizer/m2m100_tokenizer.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/t5_tokenizer.h"
#include "tokenizer/token_batch.h"
#include "tokenizer/xlm_roberta_tokenizer.h"

#include <cstddef>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace weft {

class Tokenizer {
 public:
  static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

  /// A file is a SentencePiece model, or CLIP's merges (packed by gzip, or a text that starts with # or "). In a
  /// folder,
  ///   sentencepiece.bpe.model and vocab.json: M2M100; sentencepiece.bpe.model alone: XLM-RoBERTa;
  ///   bpe_simple_vocab_16e6.txt.gz, or merges.txt where config.json says clip or nothing: CLIP;
  ///   spiece.model: SentencePiece, or mT5 where config.json says so (model_type mt5 or t5).
  /// Throws std::runtime_error in one line when the files are missing or malformed.
  static Tokenizer load(const std::filesystem::path& path);

  using Kind = std::variant<SentencePiece, T5Tokenizer, XlmRobertaTokenizer, M2m100Tokenizer, ClipTokenizer>;
  explicit Tokenizer(Kind kind) : kind_(std::move(kind)) {}

  /// Ids of the text alone.
  std::vector<int> encode(std::string_view text) const;

  /// Ids as the model takes them: with its special tokens, cut to `max_length` as the original does it. Throws
  /// std::invalid_argument when not even the special tokens fit.
  std::vector<int> encode_special(std::string_view text, std::size_t max_length = unlimited) const;

  /// encode_special of each text, padded. Throws std::invalid_argument when the model has no padding.
  TokenBatch encode_padded(std::span<const std::string> texts, std::size_t length) const;

  /// Text of the ids without special tokens. Throws std::invalid_argument for an id that the model does not have.
  std::string decode(std::span<const int> ids) const;

  int size() const;
  int pad_id() const;  ///< -1 where the model has none

  const Kind& kind() const { return kind_; }
  Kind& kind() { return kind_; }

 private:
  Kind kind_;
};

}  // namespace weft
