// Byte-pair encoding as SentencePiece does it (Sennrich et al. 2016, https://arxiv.org/abs/1508.07909): starting from
// single characters, the two neighbours whose joined text is the piece of the highest score become one, until none are
// left that make a piece. Not a maximisation: the order of the merges decides.
#pragma once

#include "tokenizer/piece_trie.h"
#include "tokenizer/segment.h"
#include "tokenizer/sentencepiece_model.h"

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace weft {

class Bpe {
 public:
  Bpe() = default;

  /// Throws std::runtime_error naming `file` when two pieces that text can hold are the same or there are none.
  Bpe(const SentencePieceModel& model, std::string_view file);

  /// The segmentation of normalised text, its last segment first. It covers the text without gaps. A user-defined piece
  /// is found before anything is merged and stays as it is; an unused piece is taken apart again into what it was
  /// merged from. Of equal scores the leftmost is merged first. As in the sentencepiece library 0.1.97.
  std::vector<Segment> segment_from_end(std::string_view text) const;

 private:
  struct Symbol;
  using Splits = std::unordered_map<int, std::uint32_t>;

  std::vector<Symbol> characters(std::string_view text) const;
  Splits merge(std::string_view text, std::vector<Symbol>& symbols) const;
  void take_apart(std::string_view text, Segment whole, const Splits& splits, std::vector<Segment>& out) const;

  PieceTrie trie_, user_defined_;
  std::vector<float> scores_;
  std::vector<bool> unused_;
};

}  // namespace weft
