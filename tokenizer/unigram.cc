#include "tokenizer/unigram.h"

#include "tensor/check.h"
#include "tokenizer/utf8.h"

#include <algorithm>
#include <cfloat>
#include <limits>

namespace weft {
namespace {

constexpr float unknown_penalty = 10;

}  // namespace

Unigram::Unigram(const SentencePieceModel& model, std::string_view file) {
  // The library starts the maximum at the smallest positive float, where it stays for the usual, negative scores.
  float min_score = FLT_MAX, max_score = FLT_MIN;
  for (const auto& piece : model.pieces) {
    if (piece.type != PieceType::normal) continue;
    min_score = std::min(min_score, piece.score);
    max_score = std::max(max_score, piece.score);
  }
  unknown_score_ = min_score - unknown_penalty;

  trie_ = text_pieces(model, file);
  for (const auto& piece : model.pieces) {
    const bool user_defined = piece.type == PieceType::user_defined;
    // A user-defined piece always wins. The product is in float and the difference in double, as in the library.
    scores_.push_back(user_defined ? piece.text.size() * max_score - 0.1 : piece.score);
    usable_.push_back(piece.type != PieceType::unused);
  }
}

std::vector<Segment> Unigram::segment_from_end(std::string_view text) const {
  constexpr std::uint32_t unreached = std::numeric_limits<std::uint32_t>::max();
  check(text.size() < unreached, "[unigram] text must have less than {} bytes but has {}", unreached, text.size());
  const auto size = static_cast<std::uint32_t>(text.size());

  // best[i]: the last segment of the best segmentation of the first i bytes.
  struct Best {
    float score = 0;
    std::uint32_t start = unreached;
    int id = Segment::unknown;
  };
  std::vector<Best> best(size + 1);
  for (std::uint32_t start = 0; start < size;) {
    const float score_here = best[start].score;
    const std::uint32_t character = std::min(utf8_announced_length(text[start]), size - start);
    bool character_is_piece = false;
    std::uint32_t node = PieceTrie::root;
    for (std::uint32_t end = start; end < size;) {
      node = trie_.step(node, static_cast<unsigned char>(text[end]));
      if (node == PieceTrie::none) break;
      ++end;
      const int id = trie_.value(node);
      if (id < 0 || !usable_[id]) continue;
      // Added and compared in double but kept in float: this decides ties, and so the library's ids.
      const double score = scores_[id] + score_here;
      if (best[end].start == unreached || score > best[end].score) best[end] = {static_cast<float>(score), start, id};
      character_is_piece |= end - start == character;
    }
    if (!character_is_piece) {
      Best& after = best[start + character];
      const float score = unknown_score_ + score_here;
      if (after.start == unreached || score > after.score) after = {score, start, Segment::unknown};
    }
    start += character;
  }

  std::vector<Segment> segments;
  segments.reserve(size / 3 + 8);
  for (std::uint32_t end = size; end > 0; end = best[end].start) {
    segments.push_back({best[end].start, end - best[end].start, best[end].id});
  }
  return segments;
}

}  // namespace weft
