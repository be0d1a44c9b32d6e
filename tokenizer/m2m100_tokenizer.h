// M2M100's text to ids: SentencePiece BPE pieces looked up in vocab.json, between a language token and </s>.
#pragma once

#include "tokenizer/added_tokens.h"
#include "tokenizer/sentencepiece.h"

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace weft {

/// The ids of transformers' M2M100Tokenizer with language_codes "m2m100": the entries of vocab.json, then one token
/// `__xx__` for each of 100 languages, then 8 ids without a text.
class M2m100Tokenizer {
 public:
  /// Reads sentencepiece.bpe.model and vocab.json of a folder. Throws std::runtime_error in one line when one of them
  /// is missing or malformed.
  static M2m100Tokenizer load(const std::filesystem::path& folder);

  /// `vocab` is a JSON object from piece to id: every id from 0 to the number of entries - 1 once, with <s>, <pad>,
  /// </s> and <unk> among the pieces. `file` names it in errors.
  M2m100Tokenizer(SentencePiece pieces, std::string_view vocab, std::string_view file);

  /// Codes of the languages, in the order of their ids.
  static std::span<const std::string_view> languages();

  /// Id of a language's token. Throws std::invalid_argument for a code that is not one of languages().
  int language_id(std::string_view code) const;

  /// The language that add_special names first; "en" at the start, as in the original.
  void set_source_language(std::string_view code) { source_id_ = language_id(code); }

  /// Ids of the text alone; special and language tokens written in it are themselves.
  std::vector<int> encode(std::string_view text) const;

  /// `__source__` ids </s>, cut to `max_length` (at least 2) with both kept.
  std::vector<int> add_special(std::vector<int> ids, std::size_t max_length) const;

  /// Text of the ids without special and language tokens. Throws std::invalid_argument for an id that the model does
  /// not have.
  std::string decode(std::span<const int> ids) const;

  int size() const;  ///< with the 8 ids that have no text
  int bos_id() const { return bos_id_; }
  int pad_id() const { return pad_id_; }
  int eos_id() const { return eos_id_; }
  int unk_id() const { return unk_id_; }

 private:
  int entries() const { return static_cast<int>(tokens_.size()); }

  SentencePiece pieces_;
  std::unordered_map<std::string, int> ids_;
  std::vector<SentencePiece::Token> tokens_;  // by id; their ids are the pieces'
  AddedTokens added_;
  int bos_id_, pad_id_, eos_id_, unk_id_, source_id_;
};

}  // namespace weft
