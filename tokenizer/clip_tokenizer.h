// CLIP's text to ids: cleaned, cut into words by a regular expression, each word by byte-level BPE.
#pragma once

#include "tokenizer/byte_bpe.h"

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

/// The ids of open_clip's SimpleTokenizer: 512 bytes, the merges, <start_of_text>, <end_of_text>.
class ClipTokenizer {
 public:
  static constexpr std::size_t context_length = 77;

  /// Reads bpe_simple_vocab_16e6.txt.gz, or merges.txt, or a file of that kind.
  static ClipTokenizer load(const std::filesystem::path& file);

  /// From the bytes of the merges file, packed by gzip or not; at most CLIP's 48,894 merges are read. `file` names it
  /// in errors. Throws std::runtime_error as ByteBpe and unpack_gzip do.
  static ClipTokenizer parse(std::string_view bytes, std::string_view file);

  /// Ids of the text alone, cleaned; special tokens written in it are themselves.
  std::vector<int> encode(std::string_view text) const;

  /// <start_of_text> ids <end_of_text>, cut to `max_length` (at least 2) with both kept.
  std::vector<int> add_special(std::vector<int> ids, std::size_t max_length) const;

  /// The 77 ids that GLAMI-1M's zero-shot scripts give to the English model: of 32, the first 31, 45 zeros, the last,
  /// so that a text that was cut has <end_of_text> at the end.
  std::vector<int> encode_glami(std::string_view text) const;

  /// Text of the ids without special tokens; every word is followed by a space. U+FFFD for what is not UTF-8. Throws
  /// std::invalid_argument for an id that the model does not have.
  std::string decode(std::span<const int> ids) const;

  int size() const { return eot_id() + 1; }
  int pad_id() const { return 0; }
  int sot_id() const { return bpe_.size(); }
  int eot_id() const { return bpe_.size() + 1; }

 private:
  explicit ClipTokenizer(ByteBpe bpe) : bpe_(std::move(bpe)) {}
  ByteBpe bpe_;
};

}  // namespace weft
