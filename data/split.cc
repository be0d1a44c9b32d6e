#include "data/split.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "data/hash.h"
#include "tensor/check.h"

namespace weft {

std::vector<bool> hold_out(std::span<const uint64_t> hashes, std::span<const int> categories, double fraction) {
  check(fraction > 0 && fraction < 1, "[hold_out] fraction must lie between 0 and 1 but is {}", fraction);
  check(hashes.size() == categories.size(), "[hold_out] each of the {} hashes must have a category but {} have",
        hashes.size(), categories.size());
  std::vector<size_t> order(hashes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (categories[a] != categories[b]) return categories[a] < categories[b];
    return hashes[a] != hashes[b] ? hashes[a] < hashes[b] : a < b;
  });
  std::vector<bool> held_out(hashes.size());
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    while (end < order.size() && categories[order[end]] == categories[order[begin]]) ++end;
    size_t n = end - begin;
    auto count = static_cast<size_t>(static_cast<double>(n) * fraction + 0.5);
    count = n < 2 ? 0 : std::clamp<size_t>(count, 1, n - 1);
    for (size_t i = begin; i < begin + count; ++i) held_out[order[i]] = true;
  }
  return held_out;
}

ValidationSplit validation_split(const GlamiTable& table, double fraction, uint64_t seed) {
  size_t n = table.size();
  std::vector<uint32_t> parent(n);
  std::iota(parent.begin(), parent.end(), 0u);
  auto root = [&](uint32_t i) {
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
  };
  // The smaller index becomes the root, so that a group is named by its first row.
  auto join = [&](uint32_t a, uint32_t b) {
    a = root(a), b = root(b);
    parent[std::max(a, b)] = std::min(a, b);
  };
  std::unordered_map<int64_t, uint32_t> by_image;
  std::unordered_map<uint64_t, uint32_t> by_text;
  for (uint32_t i = 0; i < n; ++i) {
    join(i, by_image.emplace(table[i].image_id, i).first->second);
    join(i, by_text.emplace(hash_text(table.text(i)), i).first->second);
  }
  // A group's hash is the sum of its items': the same whatever the order of the rows.
  std::vector<uint64_t> sums(n);
  for (uint32_t i = 0; i < n; ++i) sums[root(i)] += mix64(seed ^ mix64(static_cast<uint64_t>(table[i].item_id)));
  std::vector<uint32_t> groups;
  std::vector<uint64_t> hashes;
  std::vector<int> categories;
  for (uint32_t i = 0; i < n; ++i) {
    if (parent[i] != i) continue;
    groups.push_back(i);
    hashes.push_back(sums[i]);
    categories.push_back(table[i].category);
  }
  std::vector<bool> held_out = hold_out(hashes, categories, fraction), held_out_root(n);
  for (size_t g = 0; g < groups.size(); ++g) held_out_root[groups[g]] = held_out[g];
  ValidationSplit split;
  for (uint32_t i = 0; i < n; ++i) (held_out_root[root(i)] ? split.validation : split.train).push_back(i);
  return split;
}

}  // namespace weft
