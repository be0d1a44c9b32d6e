#include "tokenizer/clip_tokenizer.h"

#include "tensor/check.h"
#include "tokenizer/characters.h"
#include "tokenizer/fix_text.h"
#include "tokenizer/gzip.h"
#include "tokenizer/model_file.h"
#include "tokenizer/utf8.h"

#include <algorithm>
#include <utility>

namespace weft {
namespace {

constexpr std::size_t max_merges = 49152 - 256 - 2;
constexpr std::size_t max_unpacked = std::size_t{1} << 26;
constexpr std::u32string_view start_of_text = U"<start_of_text>", end_of_text = U"<end_of_text>";

/// Whether `text` starts with `word`, without regard to case: of what lower case leaves, only the long s is another
/// form of an ASCII letter.
bool starts_with_folded(std::u32string_view text, std::u32string_view word) {
  if (text.size() < word.size()) return false;
  return std::equal(word.begin(), word.end(), text.begin(),
                    [](char32_t w, char32_t c) { return w == c || (w == 's' && c == 0x17f); });
}

bool is_other(char32_t c) { return !is_between_words(c) && !is_letter(c) && !is_number(c); }

/// Length of the word at the start of `text`, or 0 between words. The pattern, case ignored:
/// <start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
std::size_t word_length(std::u32string_view text) {
  for (const auto word : {start_of_text, end_of_text, std::u32string_view(U"'s"), std::u32string_view(U"'t"),
                          std::u32string_view(U"'re"), std::u32string_view(U"'ve"), std::u32string_view(U"'m"),
                          std::u32string_view(U"'ll"), std::u32string_view(U"'d")}) {
    if (starts_with_folded(text, word)) return word.size();
  }
  const auto run = [&](auto is_part) {
    return static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_part) - text.begin());
  };
  if (is_letter(text[0])) return run(is_letter);
  return is_number(text[0]) ? 1 : run(is_other);
}

/// U+FFFD for each part that cannot be read, as long as it could still have become a character (Python's "replace").
std::string with_replacements(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    std::size_t length = utf8_valid_length(bytes);
    if (length) {
      out += bytes.substr(0, length);
    } else {
      out += replacement_character;
      length = utf8_broken_length(bytes);
    }
    bytes.remove_prefix(length);
  }
  return out;
}

}  // namespace

ClipTokenizer ClipTokenizer::load(const std::filesystem::path& file) {
  return parse(read_model_file(file, "CLIP's merges"), file.string());
}

ClipTokenizer ClipTokenizer::parse(std::string_view bytes, std::string_view file) {
  if (!is_gzip(bytes)) return ClipTokenizer(ByteBpe(bytes, max_merges, file));
  return ClipTokenizer(ByteBpe(unpack_gzip(bytes, file, max_unpacked), max_merges, file));
}

std::vector<int> ClipTokenizer::encode(std::string_view text) const {
  const std::u32string clean = clean_for_clip(to_code_points(text));
  std::vector<int> ids;
  for (std::u32string_view rest = clean; !rest.empty();) {
    const std::size_t length = word_length(rest);
    const std::u32string_view word = rest.substr(0, length);
    if (word == start_of_text) {
      ids.push_back(sot_id());
    } else if (word == end_of_text) {
      ids.push_back(eot_id());
    } else if (length > 0) {
      bpe_.encode(to_utf8(word), ids);
    }
    rest.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return ids;
}

std::vector<int> ClipTokenizer::add_special(std::vector<int> ids, std::size_t max_length) const {
  check(max_length >= 2, "[clip_tokenizer] max_length must be at least 2 but is {}", max_length);
  ids.resize(std::min(ids.size(), max_length - 2));
  ids.insert(ids.begin(), sot_id());
  ids.push_back(eot_id());
  return ids;
}

std::vector<int> ClipTokenizer::encode_glami(std::string_view text) const {
  constexpr std::size_t first = 32;
  std::vector<int> ids = add_special(encode(text), first);
  ids.resize(first, pad_id());
  const int last = ids.back();
  ids.pop_back();
  ids.resize(context_length - 1, pad_id());
  ids.push_back(last);
  return ids;
}

std::string ClipTokenizer::decode(std::span<const int> ids) const {
  std::string bytes;
  for (const int id : ids) {
    check(id >= 0 && id < size(), "[clip_tokenizer] id must be from 0 to {} but is {}", size() - 1, id);
    if (id >= bpe_.size()) continue;
    bytes += bpe_.token(id).bytes;
    if (bpe_.token(id).ends_word) bytes += ' ';
  }
  return with_replacements(bytes);
}

}  // namespace weft
