// The weights of one axis of a resize, for both halves of it.
#pragma once

#include <cstdint>
#include <vector>

namespace weft {

/// Output i is the sum over t < count[i] of weight[offset[i] + t] x[first[i] + t].
struct Taps {
  std::vector<int64_t> first, count, offset;
  std::vector<double> weight;

  void add(int64_t at, const std::vector<double>& weights) {
    first.push_back(at);
    count.push_back(static_cast<int64_t>(weights.size()));
    offset.push_back(static_cast<int64_t>(weight.size()));
    weight.insert(weight.end(), weights.begin(), weights.end());
  }
  int64_t size() const { return static_cast<int64_t>(first.size()); }
};

}  // namespace weft
