#include "tokenizer/t5_tokenizer.h"

#include "tensor/check.h"

#include <algorithm>
#include <utility>

namespace weft {

T5Tokenizer::T5Tokenizer(SentencePiece pieces, std::string_view file) : pieces_(std::move(pieces)) {
  check_input(pieces_.eos_id() >= 0 && pieces_.pad_id() >= 0,
              "{}: expected an end-of-sentence and a pad piece, as in mT5's model, found {} and {}", file,
              pieces_.eos_id(), pieces_.pad_id());
  for (const int id : {pieces_.eos_id(), pieces_.pad_id(), pieces_.unk_id()}) added_.add(pieces_.piece(id), id);
}

std::vector<int> T5Tokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  added_.split(
      text,
      [&](std::string_view part) {
        const auto part_ids = pieces_.encode(part);
        ids.insert(ids.end(), part_ids.begin(), part_ids.end());
      },
      [&](int id) { ids.push_back(id); });
  return ids;
}

std::vector<int> T5Tokenizer::add_special(std::vector<int> ids, std::size_t max_length) const {
  check(max_length >= 1, "[t5_tokenizer] max_length must be at least 1 but is {}", max_length);
  ids.resize(std::min(ids.size(), max_length - 1));
  if (ids.empty() || ids.back() != pieces_.eos_id()) ids.push_back(pieces_.eos_id());
  return ids;
}

}  // namespace weft
