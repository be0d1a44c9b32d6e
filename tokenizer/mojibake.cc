#include "tokenizer/mojibake.h"

#include "tokenizer/characters.h"
#include "tokenizer/python_space.h"
#include "tokenizer/utf8.h"
#include "tokenizer/utf8_variants.h"

#include <array>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace weft {
namespace {

using text_tables::BadSequence;
using text_tables::ClassRun;
using text_tables::SingleByteEncoding;
using text_tables::Step;

constexpr int max_depth = 32;

// The classes of ftfy's heuristics that a character is in.
struct Classes {
  std::uint64_t low = 0, high = 0;

  bool has(int number) const { return (number < 64 ? low >> number : high >> (number - 64)) & 1; }
};

Classes classes_of(char32_t c) {
  const auto* const end = text_tables::class_runs + text_tables::class_runs_size;
  const auto* const run = std::lower_bound(text_tables::class_runs, end, c,
                                           [](const ClassRun& r, char32_t x) { return r.last < x; });
  return run != end && run->first <= c ? Classes{run->low, run->high} : Classes{};
}

std::vector<Classes> classes_of(std::u32string_view text) {
  std::vector<Classes> classes(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) classes[i] = classes_of(text[i]);
  return classes;
}

bool matches(int step, char32_t c, const Classes& classes) {
  if (step >= Step::outside) return !classes.has(step - Step::outside);
  if (step == Step::word) return is_word_character(c);
  if (step == Step::space) return is_python_space(c);
  return classes.has(step);
}

bool matches(const BadSequence& sequence, std::u32string_view text, const std::vector<Classes>& classes,
             std::size_t at) {
  if ((sequence.at_start && at > 0) || text.size() - at < static_cast<std::size_t>(sequence.size)) return false;
  for (int i = 0; i < sequence.size; ++i) {
    if (!matches(sequence.steps[i], text[at + i], classes[at + i])) return false;
  }
  return true;
}

/// The bytes that were read as `text` in this encoding; none when it has not all of the characters.
std::optional<std::string> encode(std::u32string_view text, const SingleByteEncoding& encoding) {
  static const auto maps = [] {
    std::vector<std::unordered_map<char32_t, char>> result(text_tables::encodings_size);
    for (std::size_t e = 0; e < result.size(); ++e) {
      for (int i = 0; i < 128; ++i) result[e][text_tables::encodings[e].high[i]] = static_cast<char>(0x80 + i);
    }
    return result;
  }();
  const auto& map = maps[&encoding - text_tables::encodings];
  std::string bytes;
  bytes.reserve(text.size());
  for (const char32_t c : text) {
    if (c < 0x80 && !(encoding.sloppy && c == 0x1a)) {
      bytes += static_cast<char>(c);
    } else if (encoding.sloppy && c == 0xfffd) {
      bytes += '\x1a';
    } else {
      const auto found = map.find(c);
      if (found == map.end()) return std::nullopt;
      bytes += found->second;
    }
  }
  return bytes;
}

/// One reading of the whole text in an encoding, if its bytes are UTF-8.
std::optional<std::u32string> reread(std::u32string_view text, const SingleByteEncoding& encoding) {
  std::optional<std::string> bytes = encode(text, encoding);
  if (!bytes) return std::nullopt;
  if (!encoding.macroman) *bytes = restore_byte_a0(std::move(*bytes));
  if (encoding.sloppy) *bytes = replace_lossy_sequences(*bytes);
  return decode_utf8_variants(*bytes);
}

std::u32string fix_encoding(std::u32string text, int depth);

/// Parts that look like UTF-8 read as something else are put right by themselves.
std::u32string decode_inconsistent_utf8(std::u32string_view text, int depth) {
  const std::vector<Classes> classes = classes_of(text);
  const auto continues = [&](std::size_t at, std::size_t count) {
    for (std::size_t i = at; i < at + count; ++i) {
      if (i >= text.size() || !classes[i].has(text_tables::utf8_continuation)) return false;
    }
    return true;
  };
  const auto sequence_at = [&](std::size_t at) -> std::size_t {
    if (at >= text.size()) return 0;
    if (classes[at].has(text_tables::utf8_first_of_2) && continues(at + 1, 1)) return 2;
    if (classes[at].has(text_tables::utf8_first_of_3) && continues(at + 1, 2)) return 3;
    if (classes[at].has(text_tables::utf8_first_of_4) && continues(at + 1, 3)) return 4;
    return 0;
  };
  std::u32string out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    if (at == 0 || !classes[at - 1].has(text_tables::utf8_continuation_strict)) {
      while (const std::size_t length = sequence_at(end)) end += length;
    }
    if (end == at) {
      out += text[at++];
      continue;
    }
    const std::u32string_view part = text.substr(at, end - at);
    const bool fixable = depth < max_depth && part.size() < text.size() && is_mojibake(part);
    out += fixable ? fix_encoding(std::u32string(part), depth + 1) : std::u32string(part);
    at = end;
  }
  return out;
}

/// Latin-1 that was meant to be Windows-1252, which leaves five bytes undefined.
std::optional<std::u32string> latin1_as_windows1252(std::u32string_view text) {
  std::u32string out;
  for (const char32_t c : text) {
    if (c > 0xff || c == 0x81 || c == 0x8d || c == 0x8f || c == 0x90 || c == 0x9d) return std::nullopt;
    out += c < 0x80 ? c : text_tables::encodings[1].high[c - 0x80];
  }
  return out;
}

std::u32string fix_encoding_once(const std::u32string& text, int depth) {
  const bool ascii = std::all_of(text.begin(), text.end(), [](char32_t c) { return c < 0x80; });
  if (ascii || !is_mojibake(text)) return text;
  for (std::size_t i = 0; i < text_tables::encodings_size; ++i) {
    if (auto fixed = reread(text, text_tables::encodings[i])) return std::move(*fixed);
  }
  std::u32string fixed = decode_inconsistent_utf8(text, depth);
  if (fixed != text) return fixed;
  if (auto windows = latin1_as_windows1252(text); windows && *windows != text) return std::move(*windows);
  return fix_c1_controls(text);
}

std::u32string fix_encoding(std::u32string text, int depth) {
  while (true) {
    std::u32string fixed = fix_encoding_once(text, depth);
    if (fixed == text) return text;
    text = std::move(fixed);
  }
}

}  // namespace

bool is_mojibake(std::u32string_view text) {
  const std::vector<Classes> classes = classes_of(text);
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (std::size_t i = 0; i < text_tables::bad_sequences_size; ++i) {
      if (matches(text_tables::bad_sequences[i], text, classes, at)) return true;
    }
  }
  return false;
}

std::u32string fix_encoding(std::u32string text) { return fix_encoding(std::move(text), 0); }

std::u32string fix_c1_controls(std::u32string text) {
  for (char32_t& c : text) {
    if (c >= 0x80 && c <= 0x9f) c = text_tables::encodings[1].high[c - 0x80];
  }
  return text;
}

}  // namespace weft
