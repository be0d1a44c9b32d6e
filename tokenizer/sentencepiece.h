// SentencePiece tokenizer, unigram (Kudo 2018, https://arxiv.org/abs/1804.10959) or BPE, with the ids of the
// sentencepiece library 0.1.97: the same normalisation, the same arithmetic in the search (so that ties break the same
// way), the same treatment of what is unknown.
#pragma once

#include "tokenizer/bpe.h"
#include "tokenizer/sentencepiece_model.h"
#include "tokenizer/text_normalizer.h"
#include "tokenizer/token_batch.h"
#include "tokenizer/unigram.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace weft {

class SentencePiece {
 public:
  /// Reads a `.model` file, or spiece.model in a folder. Throws std::runtime_error in one line with file, byte,
  /// expected and found when it cannot be read, is malformed, or is neither a unigram nor a BPE model.
  static SentencePiece load(const std::filesystem::path& path);

  /// The same from bytes in memory; `file` names them in errors.
  static SentencePiece parse(std::string_view bytes, std::string_view file);

  /// Ids of the best segmentation of `text`, which may be any bytes. No end-of-sentence is added.
  std::vector<int> encode(std::string_view text) const;

  /// A token and its text: that of the piece, or, for the unknown one, what of the normalised text it stands for.
  struct Token {
    int id;
    std::string text;
  };
  std::vector<Token> encode_tokens(std::string_view text) const;

  /// Cut so that with the end-of-sentence, where the model has one, there are at most `max_length` (at least 1).
  std::vector<int> add_special(std::vector<int> ids, std::size_t max_length) const;

  /// Ids of each text, cut to `length` tokens with the end-of-sentence (where `eos`) as the last that is kept, then
  /// padded: mT5's way. Throws std::invalid_argument when the model lacks the pad piece or the end-of-sentence that is
  /// asked for.
  TokenBatch encode_padded(std::span<const std::string> texts, std::size_t length, bool eos = true) const;

  /// Text of the ids: byte pieces are put together (U+FFFD for what is not UTF-8), control pieces are left out. Throws
  /// std::invalid_argument for an id that the model does not have.
  std::string decode(std::span<const int> ids) const;

  /// Text of tokens: those that are no piece of the model (id unk_id(), another text) stay as they are written.
  std::string decode_tokens(std::span<const Token> tokens) const;

  int size() const { return static_cast<int>(types_.size()); }
  int unk_id() const { return unk_id_; }
  int bos_id() const { return bos_id_; }  ///< -1 where the model has none; so for eos and pad
  int eos_id() const { return eos_id_; }
  int pad_id() const { return pad_id_; }

  std::string_view piece(int id) const;
  PieceType type(int id) const;
  float score(int id) const;

 private:
  SentencePiece() = default;
  void read_pieces(const SentencePieceModel& model, std::string_view file);
  void check_id(int id) const;
  std::vector<Segment> segment_from_end(std::string_view normalized) const;
  class Decoder;

  std::string texts_;  // of all pieces, one after the other; text_ends_ says where each ends
  std::vector<std::uint32_t> text_ends_;
  std::vector<float> scores_;
  std::vector<PieceType> types_;
  std::array<int, 256> byte_ids_{};
  int unk_id_ = -1, bos_id_ = -1, eos_id_ = -1, pad_id_ = -1;
  std::string unk_surface_;
  bool byte_fallback_ = false, denormalize_ = false, strip_first_space_ = false, strip_every_first_space_ = false;
  std::variant<Unigram, Bpe> segmentation_;
  TextNormalizer normalizer_, denormalizer_;
};

}  // namespace weft
