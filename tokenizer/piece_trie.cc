#include "tokenizer/piece_trie.h"

#include "tensor/check.h"

namespace weft {
namespace {

// A slot's key holds the node in 24 bits.
constexpr std::size_t max_nodes = std::size_t{1} << 24;

}  // namespace

int PieceTrie::insert(std::string_view key, int value) {
  check(!key.empty() && value >= 0,
        "[piece_trie] key must not be empty and value not negative but they are \"{}\" and {}", key, value);
  std::uint32_t node = root;
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    std::uint32_t next = step(node, byte);
    if (next == none) {
      check_input(values_.size() < max_nodes, "pieces need more than {} trie nodes", max_nodes);
      if (2 * values_.size() >= slots_.size()) grow();
      next = static_cast<std::uint32_t>(values_.size());
      values_.push_back(-1);
      std::size_t i = slot_of(node << 8 | byte);
      while (slots_[i].child != 0) i = (i + 1) & mask_;
      slots_[i] = {node << 8 | byte, next};
    }
    node = next;
  }
  const int before = values_[node];
  values_[node] = value;
  return before;
}

int PieceTrie::find(std::string_view key) const {
  std::uint32_t node = root;
  for (const char c : key) {
    node = step(node, static_cast<unsigned char>(c));
    if (node == none) return -1;
  }
  return values_[node];
}

std::size_t PieceTrie::longest_prefix(std::string_view text) const {
  std::size_t longest = 0;
  std::uint32_t node = root;
  for (std::size_t i = 0; i < text.size(); ++i) {
    node = step(node, static_cast<unsigned char>(text[i]));
    if (node == none) break;
    if (values_[node] >= 0) longest = i + 1;
  }
  return longest;
}

void PieceTrie::grow() {
  std::vector<Slot> old(slots_.empty() ? 64 : 2 * slots_.size());
  old.swap(slots_);
  mask_ = slots_.size() - 1;
  shift_ = 64;
  for (std::size_t size = slots_.size(); size > 1; size /= 2) --shift_;
  for (const Slot& slot : old) {
    if (slot.child == 0) continue;
    std::size_t i = slot_of(slot.key);
    while (slots_[i].child != 0) i = (i + 1) & mask_;
    slots_[i] = slot;
  }
}

}  // namespace weft
