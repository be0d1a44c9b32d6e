// Sums over work that threads share: each thread adds to its own, and these are added up in the order of the work, so
// that a number of threads always gives the same result.
#pragma once

#include <map>
#include <mutex>
#include <vector>

#include "kernels/device/parallel.h"

namespace weft {

/// The sum of what body(begin, end, sums) adds to `size` zeros, over all pieces [begin, end) of [0, n); n > 0.
template <class Body> std::vector<float> partial_sums(int64_t n, int64_t grain, int64_t size, Body&& body) {
  std::mutex mutex;
  std::map<int64_t, std::vector<float>> parts;  // by the first of their work
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(size);
    body(begin, end, sums.data());
    const std::lock_guard lock(mutex);
    parts[begin] = std::move(sums);
  });
  std::vector<float> total = std::move(parts.begin()->second);
  for (auto part = std::next(parts.begin()); part != parts.end(); ++part) {
    for (int64_t i = 0; i < size; ++i) total[i] += part->second[i];
  }
  return total;
}

}  // namespace weft
