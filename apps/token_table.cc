#include "apps/token_table.h"

#include <algorithm>

namespace weft {

TokenTable::TokenTable(const SentencePiece& tokenizer, const GlamiTable& table, int64_t max_tokens, bool with_names)
    : max_tokens_(max_tokens), pad_(std::max(0, tokenizer.pad_id())) {
  begin_.reserve((with_names ? 2 : 1) * table.size() + 1);
  for (size_t i = 0; i < table.size(); ++i) append(tokenizer, table.text(i));
  for (size_t i = 0; with_names && i < table.size(); ++i) append(tokenizer, table.name(i));
}

TokenTable::TokenTable(const SentencePiece& tokenizer, std::string_view text, int64_t max_tokens)
    : max_tokens_(max_tokens), pad_(std::max(0, tokenizer.pad_id())) {
  append(tokenizer, text);
}

void TokenTable::append(const SentencePiece& tokenizer, std::string_view text) {
  const std::vector<int> ids = tokenizer.encode(text);
  const size_t kept = std::min(ids.size(), static_cast<size_t>(max_tokens_ - 1));
  ids_.insert(ids_.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(kept));
  ids_.push_back(tokenizer.eos_id());
  begin_.push_back(ids_.size());
}

std::vector<uint32_t> TokenTable::with_some_names(std::span<const uint32_t> rows, double share, Random& random) const {
  std::vector<uint32_t> chosen(rows.begin(), rows.end());
  if (share <= 0) return chosen;
  const auto names = static_cast<uint32_t>((begin_.size() - 1) / 2);
  const PhiloxStream stream = random.reserve(static_cast<int64_t>(rows.size()));
  for (size_t i = 0; i < chosen.size(); ++i) {
    if (stream.uniform(static_cast<int64_t>(i)) < share) chosen[i] += names;
  }
  return chosen;
}

TokenizedBatch TokenTable::batch(std::span<const uint32_t> rows, bool trim, double drop, Random* random) const {
  const int64_t B = static_cast<int64_t>(rows.size());
  std::vector<int64_t> kept;        // ids of all rows, one after another
  std::vector<int64_t> ends;        // of each row in `kept`
  int64_t longest = 1;
  const PhiloxStream stream = drop > 0 ? random->reserve(B * max_tokens_) : PhiloxStream{};
  for (int64_t b = 0; b < B; ++b) {
    const uint64_t begin = begin_[rows[b]], end = begin_[rows[b] + 1];
    const size_t before = kept.size();
    for (uint64_t i = begin; i < end; ++i) {
      const bool last = i + 1 == end;
      if (drop > 0 && !last && stream.uniform(b * max_tokens_ + (i - begin)) < drop) continue;
      kept.push_back(ids_[i]);
    }
    longest = std::max(longest, static_cast<int64_t>(kept.size() - before));
    ends.push_back(static_cast<int64_t>(kept.size()));
  }
  const int64_t T = trim ? longest : max_tokens_;
  TokenizedBatch batch{Tensor::full({B, T}, static_cast<double>(pad_), DType::i64),
                       Tensor::zeros({B, T}, DType::boolean)};
  for (int64_t b = 0, begin = 0; b < B; begin = ends[b++]) {
    std::copy(kept.begin() + begin, kept.begin() + ends[b], batch.ids.data<int64_t>() + b * T);
    std::fill_n(batch.mask.data<bool>() + b * T, ends[b] - begin, true);
  }
  return batch;
}

}  // namespace weft
