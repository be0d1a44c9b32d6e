#include "tokenizer/byte_bpe.h"

#include "tensor/atomic_file.h"
#include "tensor/check.h"
#include "tokenizer/utf8.h"

#include <algorithm>
#include <limits>
#include <queue>

namespace weft {
namespace {

constexpr std::uint32_t nothing = std::numeric_limits<std::uint32_t>::max();
constexpr std::string_view word_end = "</w>";

bool is_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/// The file's alphabet: printable bytes of Latin-1 are themselves, the others are U+0100 and so on. In the order of
/// ids.
struct Alphabet {
  int bytes[256];            // by id
  int byte_of[0x144] = {};   // by code point, -1: none
  std::string characters[256];  // UTF-8, by id

  Alphabet() {
    std::fill(std::begin(byte_of), std::end(byte_of), -1);
    int id = 0;
    for (const bool printable : {true, false}) {
      for (int byte = 0; byte < 256; ++byte) {
        if (is_printable(byte) != printable) continue;
        const char32_t c = printable ? byte : 0x100 + (id - 188);
        byte_of[c] = byte;
        append_utf8(c, characters[id]);
        bytes[id++] = byte;
      }
    }
  }
};

}  // namespace

ByteBpe::ByteBpe(std::string_view merges, std::size_t max_merges, std::string_view file) {
  const Alphabet alphabet;
  // As in the original, what is joined is the text of the two halves, end marks included.
  std::unordered_map<std::string, int> ids;
  for (const bool ends_word : {false, true}) {
    for (int i = 0; i < 256; ++i) {
      if (!ends_word) byte_ids_[alphabet.bytes[i]] = i;
      ids[alphabet.characters[i] + std::string(ends_word ? word_end : "")] = static_cast<int>(texts_.size());
      texts_.push_back({std::string(1, static_cast<char>(alphabet.bytes[i])), ends_word});
    }
  }
  std::size_t line_number = 1;
  for (std::size_t at = merges.find('\n'); at != merges.npos && merges_.size() < max_merges;) {
    merges.remove_prefix(at + 1);
    ++line_number;
    if (merges.empty()) break;
    at = merges.find('\n');
    const std::string_view line = merges.substr(0, at);
    const std::size_t space = line.find(' ');
    const auto half = [&](std::string_view text) {
      const auto found = ids.find(std::string(text));
      check_input(found != ids.end(), "{}: line {}: expected bytes or what a line before has made, found {}", file,
                  line_number, quote(text));
      return found->second;
    };
    check_input(space != line.npos && line.size() <= 4096,
                "{}: line {}: expected two parts of at most 4096 bytes, found {}", file, line_number,
                space == line.npos ? "one" : "more");
    const int left = half(line.substr(0, space)), right = half(line.substr(space + 1));
    const auto rank = static_cast<std::uint32_t>(merges_.size());
    const int id = static_cast<int>(texts_.size());
    check_input(merges_.emplace(key(left, right), Merge{rank, id}).second,
                "{}: line {}: expected a new pair, found one for the second time", file, line_number);
    const bool is_new = ids.emplace(std::string(line.substr(0, space)).append(line.substr(space + 1)), id).second;
    check_input(is_new, "{}: line {}: expected a pair that makes something new, found one that was made before", file,
                line_number);
    texts_.push_back({texts_[left].bytes + texts_[right].bytes, texts_[right].ends_word});
  }
  check_input(!merges_.empty(), "{}: expected merges, found none", file);
}

void ByteBpe::encode(std::string_view word, std::vector<int>& ids) const {
  check(word.size() < nothing, "[byte_bpe] word must have less than {} bytes but has {}", nothing, word.size());
  struct Symbol {
    int id;  // -1: merged into its left neighbour
    std::uint32_t previous, next;
  };
  const auto size = static_cast<std::uint32_t>(word.size());
  std::vector<Symbol> symbols(size);
  for (std::uint32_t i = 0; i < size; ++i) {
    const int byte = byte_ids_[static_cast<unsigned char>(word[i])];
    symbols[i] = {i + 1 < size ? byte : byte + 256, i ? i - 1 : nothing, i + 1 < size ? i + 1 : nothing};
  }
  struct Pair {
    std::uint32_t rank, left;
    int left_id, right_id, id;
    bool operator<(const Pair& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };
  std::priority_queue<Pair> agenda;
  const auto consider = [&](std::uint32_t left) {
    if (left == nothing || symbols[left].next == nothing) return;
    const int left_id = symbols[left].id, right_id = symbols[symbols[left].next].id;
    const auto merge = merges_.find(key(left_id, right_id));
    if (merge != merges_.end()) agenda.push({merge->second.rank, left, left_id, right_id, merge->second.id});
  };
  for (std::uint32_t i = 0; i + 1 < size; ++i) consider(i);
  std::vector<std::uint32_t> grown;
  while (!agenda.empty()) {
    // All pairs of one rank, from the left, before what they make is looked at: so the original goes over the word.
    const std::uint32_t rank = agenda.top().rank;
    grown.clear();
    for (; !agenda.empty() && agenda.top().rank == rank; agenda.pop()) {
      const Pair pair = agenda.top();
      Symbol& left = symbols[pair.left];
      if (left.id != pair.left_id || left.next == nothing || symbols[left.next].id != pair.right_id) continue;
      Symbol& right = symbols[left.next];
      left.id = pair.id;
      left.next = right.next;
      right.id = -1;
      if (left.next != nothing) symbols[left.next].previous = pair.left;
      grown.push_back(pair.left);
    }
    for (const std::uint32_t left : grown) {
      consider(symbols[left].previous);
      consider(left);
    }
  }
  for (const Symbol& symbol : symbols) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
}

}  // namespace weft
