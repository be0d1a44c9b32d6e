// A set of strings with a number each, walked byte by byte. One open-addressing table maps (node, byte) to the next
// node: a step is one probe in most cases, and building takes one pass over the strings in any order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace weft {

class PieceTrie {
 public:
  static constexpr std::uint32_t root = 0;
  static constexpr std::uint32_t none = 0xffffffff;

  /// Stores `value` (>= 0) under `key`, which must not be empty. Returns the value that the key had before, or -1.
  int insert(std::string_view key, int value);

  bool empty() const { return slots_.empty(); }

  /// The node that `byte` leads to, or `none`.
  std::uint32_t step(std::uint32_t node, unsigned char byte) const {
    if (slots_.empty()) return none;
    const std::uint32_t key = node << 8 | byte;
    for (std::size_t i = slot_of(key);; i = (i + 1) & mask_) {
      if (slots_[i].child == 0) return none;
      if (slots_[i].key == key) return slots_[i].child;
    }
  }

  /// The value of the string that ends at `node`, or -1.
  int value(std::uint32_t node) const { return values_[node]; }

  /// The value of `key`, or -1.
  int find(std::string_view key) const;

  /// Length of the longest string that is a prefix of `text`, or 0.
  std::size_t longest_prefix(std::string_view text) const;

 private:
  // A child is never the root, so 0 marks an empty slot.
  struct Slot {
    std::uint32_t key = 0, child = 0;
  };

  std::size_t slot_of(std::uint32_t key) const { return (key * std::uint64_t{0x9e3779b97f4a7c15}) >> shift_; }
  void grow();

  std::vector<Slot> slots_;
  std::vector<std::int32_t> values_{-1};
  std::size_t mask_ = 0;
  int shift_ = 64;
};

}  // namespace weft
