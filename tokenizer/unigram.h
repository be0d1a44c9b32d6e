// The unigram language model: every piece has a log probability, and text is cut where the sum of them is greatest.
#pragma once

#include "tokenizer/piece_trie.h"
#include "tokenizer/segment.h"
#include "tokenizer/sentencepiece_model.h"

#include <string_view>
#include <vector>

namespace weft {

class Unigram {
 public:
  Unigram() = default;

  /// Takes the pieces that can be found in text: normal, user-defined and unused ones. Throws std::runtime_error naming
  /// `file` when two of them are the same or there are none.
  Unigram(const SentencePieceModel& model, std::string_view file);

  /// The best segmentation of normalised text (Viterbi), its last segment first. It covers the text without gaps.
  /// Unused pieces are never chosen. Equal sums are decided as in the sentencepiece library 0.1.97.
  std::vector<Segment> segment_from_end(std::string_view text) const;

 private:
  PieceTrie trie_;
  std::vector<double> scores_;
  std::vector<bool> usable_;
  float unknown_score_ = 0;
};

}  // namespace weft
