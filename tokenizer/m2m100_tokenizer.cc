#include "tokenizer/m2m100_tokenizer.h"

#include "tensor/check.h"
#include "tokenizer/model_file.h"
#include "tokenizer/python_space.h"
#include "tokenizer/vocabulary_json.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace weft {
namespace {

constexpr int ids_without_text = 8;

constexpr std::string_view language_codes[] = {
    "af", "am", "ar",  "ast", "az", "ba", "be", "bg", "bn", "br", "bs", "ca", "ceb", "cs", "cy",  "da", "de",
    "el", "en", "es",  "et",  "fa", "ff", "fi", "fr", "fy", "ga", "gd", "gl", "gu",  "ha", "he",  "hi", "hr",
    "ht", "hu", "hy",  "id",  "ig", "ilo", "is", "it", "ja", "jv", "ka", "kk", "km", "kn", "ko",  "lb", "lg",
    "ln", "lo", "lt",  "lv",  "mg", "mk", "ml", "mn", "mr", "ms", "my", "ne", "nl",  "no", "ns",  "oc", "or",
    "pa", "pl", "ps",  "pt",  "ro", "ru", "sd", "si", "sk", "sl", "so", "sq", "sr",  "ss", "su",  "sv", "sw",
    "ta", "th", "tl",  "tn",  "tr", "uk", "ur", "uz", "vi", "wo", "xh", "yi", "yo",  "zh", "zu"};
static_assert(std::size(language_codes) == 100);

}  // namespace

M2m100Tokenizer M2m100Tokenizer::load(const std::filesystem::path& folder) {
  const auto vocab = folder / "vocab.json";
  return {SentencePiece::load(folder / "sentencepiece.bpe.model"), read_model_file(vocab, "a vocabulary"),
          vocab.string()};
}

M2m100Tokenizer::M2m100Tokenizer(SentencePiece pieces, std::string_view vocab, std::string_view file)
    : pieces_(std::move(pieces)), ids_(read_vocabulary_json(vocab, file)) {
  std::unordered_map<std::string_view, int> piece_ids;
  for (int id = 0; id < pieces_.size(); ++id) piece_ids.emplace(pieces_.piece(id), id);
  tokens_.resize(ids_.size());
  for (const auto& [text, id] : ids_) {
    const auto piece = piece_ids.find(text);
    tokens_[id] = {piece == piece_ids.end() ? pieces_.unk_id() : piece->second, text};
  }
  const auto special = [&](const char* text) {
    const auto found = ids_.find(text);
    check_input(found != ids_.end(), "{}: expected an entry for {}, found none in {} entries", file, text, entries());
    added_.add(text, found->second);
    return found->second;
  };
  bos_id_ = special("<s>");
  pad_id_ = special("<pad>");
  eos_id_ = special("</s>");
  unk_id_ = special("<unk>");
  for (const auto code : language_codes) added_.add(fmt::format("__{}__", code), language_id(code));
  set_source_language("en");
}

std::span<const std::string_view> M2m100Tokenizer::languages() { return language_codes; }

int M2m100Tokenizer::language_id(std::string_view code) const {
  const auto found = std::find(std::begin(language_codes), std::end(language_codes), code);
  check(found != std::end(language_codes), "[m2m100_tokenizer] language must be one of M2M100's 100 but is \"{}\"",
        code);
  return entries() + static_cast<int>(found - language_codes);
}

std::vector<int> M2m100Tokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  added_.split(
      text,
      [&](std::string_view part) {
        for (const auto& token : pieces_.encode_tokens(part)) {
          const auto found = ids_.find(token.text);
          ids.push_back(found == ids_.end() ? unk_id_ : found->second);
        }
      },
      [&](int id) { ids.push_back(id); });
  return ids;
}

std::vector<int> M2m100Tokenizer::add_special(std::vector<int> ids, std::size_t max_length) const {
  check(max_length >= 2, "[m2m100_tokenizer] max_length must be at least 2 but is {}", max_length);
  ids.resize(std::min(ids.size(), max_length - 2));
  ids.insert(ids.begin(), source_id_);
  ids.push_back(eos_id_);
  return ids;
}

std::string M2m100Tokenizer::decode(std::span<const int> ids) const {
  std::vector<SentencePiece::Token> tokens;
  for (const int id : ids) {
    check(id >= 0 && id < size(), "[m2m100_tokenizer] id must be from 0 to {} but is {}", size() - 1, id);
    if (id < entries() && !added_.contains(id)) tokens.push_back(tokens_[id]);
  }
  return std::string(python_strip(pieces_.decode_tokens(tokens)));
}

int M2m100Tokenizer::size() const { return entries() + static_cast<int>(std::size(language_codes)) + ids_without_text; }

}  // namespace weft
