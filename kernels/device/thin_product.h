// Products of a few rows with a matrix as linear layers keep it, f32, on the cpu by hand: one text, one token, one item.
// The matrix is read once, where it lies, as fast as the memory gives it.
#pragma once

#include <cstdint>

namespace weft {

/// Whether thin_product() is for these sizes, on the processor that this is compiled for.
bool thin_product_takes(int64_t m, int64_t n, int64_t k);

/// y [m, n] = x [m, k] w [n, k]^T + bias [n] (null: none). Sums are taken over numbers a vector apart and then put
/// together, the same way whatever the threads and the number of rows.
void thin_product(const float* x, const float* w, const float* bias, float* y, int64_t m, int64_t n, int64_t k);

}  // namespace weft
