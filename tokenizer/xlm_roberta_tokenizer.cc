#include "tokenizer/xlm_roberta_tokenizer.h"

#include "tensor/check.h"
#include "tokenizer/python_space.h"

#include <algorithm>
#include <utility>

namespace weft {

XlmRobertaTokenizer::XlmRobertaTokenizer(SentencePiece pieces) : pieces_(std::move(pieces)) {
  added_.add("<s>", bos);
  added_.add("<pad>", pad);
  added_.add("</s>", eos);
  added_.add("<unk>", unk);
  added_.add("<mask>", mask_id(), true);
}

std::vector<int> XlmRobertaTokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  added_.split(
      text,
      [&](std::string_view part) {
        // Piece 0 is SentencePiece's own <unk>.
        for (const int id : pieces_.encode(part)) ids.push_back(id == 0 ? unk : id + 1);
      },
      [&](int id) { ids.push_back(id); });
  return ids;
}

std::vector<int> XlmRobertaTokenizer::add_special(std::vector<int> ids, std::size_t max_length) const {
  check(max_length >= 2, "[xlm_roberta_tokenizer] max_length must be at least 2 but is {}", max_length);
  ids.resize(std::min(ids.size(), max_length - 2));
  ids.insert(ids.begin(), bos);
  ids.push_back(eos);
  return ids;
}

std::string XlmRobertaTokenizer::decode(std::span<const int> ids) const {
  constexpr std::string_view space_symbol = "\xe2\x96\x81";  // U+2581
  std::string out;
  for (const int id : ids) {
    check(id >= 0 && id < size(), "[xlm_roberta_tokenizer] id must be from 0 to {} but is {}", size() - 1, id);
    if (added_.contains(id)) continue;
    std::string_view text = pieces_.piece(id - 1);
    for (std::size_t at; (at = text.find(space_symbol)) != text.npos; text.remove_prefix(at + space_symbol.size())) {
      out += text.substr(0, at);
      out += ' ';
    }
    out += text;
  }
  return std::string(python_strip(out));
}

}  // namespace weft
