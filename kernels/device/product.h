// Products of f32 matrices on the cpu by hand, for processors with AVX2 and without AVX-512, where oneDNN's reach the
// machine's speed with large matrices only.
#pragma once

#include <cstdint>

namespace weft {

/// A factor of a product: element [i, j] is at data[i * row + j * column], and one of the steps is 1.
struct ProductFactor {
  const float* data;
  int64_t row, column;
};

/// Whether product_by_hand() is for these sizes, on the processor that this is compiled for. `mapped`: b lies in a file,
/// which a packed copy would take into the program's memory.
bool product_takes(int64_t m, int64_t n, int64_t k, bool mapped);

/// y [m, n] = a [m, k] b [k, n] + bias [n] (null: none). Every sum is taken in the order of k, whatever the sizes and threads.
void product_by_hand(const ProductFactor& a, const ProductFactor& b, const float* bias, float* y, int64_t m, int64_t n,
                     int64_t k);

}  // namespace weft
