#include "tokenizer/bpe.h"

#include "tensor/check.h"
#include "tokenizer/utf8.h"

#include <algorithm>
#include <limits>
#include <queue>

namespace weft {
namespace {

constexpr std::uint32_t nothing = std::numeric_limits<std::uint32_t>::max();

// Two neighbours that could become one. It is stale once one of them has grown or is gone: then the size differs.
struct Pair {
  float score;
  std::uint32_t left, right, size;
};

struct LaterPair {
  bool operator()(const Pair& a, const Pair& b) const {
    return a.score != b.score ? a.score < b.score : a.left > b.left;
  }
};

}  // namespace

// A link of the chain that the text is at any moment; size 0 once it was merged into its left neighbour.
struct Bpe::Symbol {
  std::uint32_t start, size, previous, next;
  bool frozen;
};

Bpe::Bpe(const SentencePieceModel& model, std::string_view file) : trie_(text_pieces(model, file)) {
  for (int id = 0; const auto& piece : model.pieces) {
    scores_.push_back(piece.score);
    unused_.push_back(piece.type == PieceType::unused);
    if (piece.type == PieceType::user_defined) user_defined_.insert(piece.text, id);
    ++id;
  }
}

std::vector<Bpe::Symbol> Bpe::characters(std::string_view text) const {
  std::vector<Symbol> symbols;
  symbols.reserve(text.size());
  const auto size = static_cast<std::uint32_t>(text.size());
  for (std::uint32_t start = 0; start < size;) {
    const auto piece = static_cast<std::uint32_t>(user_defined_.longest_prefix(text.substr(start)));
    const std::uint32_t length = piece ? piece : std::min(utf8_announced_length(text[start]), size - start);
    const auto index = static_cast<std::uint32_t>(symbols.size());
    symbols.push_back({start, length, index ? index - 1 : nothing, index + 1, piece > 0});
    start += length;
  }
  if (!symbols.empty()) symbols.back().next = nothing;
  return symbols;
}

// Merges until nothing can be merged. Returns where the unused pieces that were seen on the way have their seam.
Bpe::Splits Bpe::merge(std::string_view text, std::vector<Symbol>& symbols) const {
  Splits splits;
  std::priority_queue<Pair, std::vector<Pair>, LaterPair> agenda;
  const auto consider = [&](std::uint32_t left, std::uint32_t right) {
    if (left == nothing || right == nothing || symbols[left].frozen || symbols[right].frozen) return;
    const std::uint32_t size = symbols[left].size + symbols[right].size;
    const int id = trie_.find(text.substr(symbols[left].start, size));
    if (id < 0) return;
    agenda.push({scores_[id], left, right, size});
    if (unused_[id]) splits[id] = symbols[left].size;
  };
  for (std::uint32_t right = 1; right < symbols.size(); ++right) consider(right - 1, right);
  while (!agenda.empty()) {
    const Pair best = agenda.top();
    agenda.pop();
    Symbol &left = symbols[best.left], &right = symbols[best.right];
    if (left.size == 0 || right.size == 0 || left.size + right.size != best.size) continue;
    left.size = best.size;
    left.next = right.next;
    if (right.next != nothing) symbols[right.next].previous = best.left;
    right.size = 0;
    consider(left.previous, best.left);
    consider(best.left, left.next);
  }
  return splits;
}

void Bpe::take_apart(std::string_view text, Segment whole, const Splits& splits, std::vector<Segment>& out) const {
  std::vector<Segment> rest = {whole};
  while (!rest.empty()) {
    Segment segment = rest.back();
    rest.pop_back();
    segment.id = trie_.find(text.substr(segment.start, segment.size));
    const auto split = segment.id >= 0 && unused_[segment.id] ? splits.find(segment.id) : splits.end();
    if (split == splits.end()) {
      out.push_back(segment);
      continue;
    }
    const std::uint32_t left = split->second;
    rest.push_back({segment.start, left, Segment::unknown});
    rest.push_back({segment.start + left, segment.size - left, Segment::unknown});
  }
}

std::vector<Segment> Bpe::segment_from_end(std::string_view text) const {
  check(text.size() < nothing, "[bpe] text must have less than {} bytes but has {}", nothing, text.size());
  std::vector<Symbol> symbols = characters(text);
  const Splits splits = merge(text, symbols);
  std::vector<Segment> segments;
  segments.reserve(text.size() / 3 + 8);
  for (std::size_t i = symbols.size(); i-- > 0;) {
    if (symbols[i].size == 0) continue;
    take_apart(text, {symbols[i].start, symbols[i].size, Segment::unknown}, splits, segments);
  }
  return segments;
}

}  // namespace weft
