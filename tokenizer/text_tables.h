// What text cleaning knows about characters; the tables are in text_tables.cc, written by scripts/make_ftfy_tables.py.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::text_tables {

struct CodePointRange {
  char32_t first, last;
};

// Sorted, without overlaps.
extern const CodePointRange letters[], numbers[], between_words[], digits[], cased[], case_ignorable[],
    word_characters[];
extern const std::size_t letters_size, numbers_size, between_words_size, digits_size, cased_size, case_ignorable_size,
    word_characters_size;

/// Characters with a bit for each class of ftfy's heuristics that they are in, sorted.
struct ClassRun {
  char32_t first, last;
  std::uint64_t low, high;
};
extern const ClassRun class_runs[];
extern const std::size_t class_runs_size;

/// One place in a sequence: the number of a class, or one of these; outside + n: any character that is not in class n.
struct Step {
  static constexpr int word = 128, space = 129, outside = 256;
};
struct BadSequence {
  bool at_start;  ///< only at the start of the text
  int size;
  std::uint16_t steps[8];
};
extern const BadSequence bad_sequences[];
extern const std::size_t bad_sequences_size;
extern const int utf8_first_of_2, utf8_first_of_3, utf8_first_of_4, utf8_continuation, utf8_continuation_strict;

/// Characters of the bytes 0x80 to 0xff; below, bytes are ASCII. Sloppy ones write U+FFFD as 0x1a.
struct SingleByteEncoding {
  bool sloppy, macroman;
  char32_t high[128];
};
extern const SingleByteEncoding encodings[];
extern const std::size_t encodings_size;

struct Replacement {
  char32_t character;
  const char* text;
};
extern const Replacement replacements[];  ///< ligatures, then widths, each sorted
extern const std::size_t ligatures_size, replacements_size;

struct Entity {
  const char *name, *text;
};
extern const Entity entities[], capital_entities[];
extern const std::size_t entities_size, capital_entities_size;

}  // namespace weft::text_tables
