// Bytes put in another place on the cuda device, for arrange and embedding. Everything is on the device unless it says
// host.
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// `count` runs of `bytes`, at these distances from each other.
void copy_runs_cuda(void* to, int64_t to_step, const void* from, int64_t from_step, int64_t count, int64_t bytes);
/// The bytes of row ids[i] of x [V, row_bytes] -> row i of y.
void copy_rows_cuda(const void* x, void* y, const int64_t* ids, int64_t n, int64_t row_bytes);
/// dx[v, :] = sum of dy[i, :] over all i with host_ids[i] == v, in an order that depends on the ids only. dx [V, D], dy
/// [n, D], f32 or bf16; ids i64 [n] in [0, V), on the host.
void scatter_add_rows_cuda(const Tensor& dx, int64_t V, int64_t D, const Tensor& host_ids, const Tensor& dy);

}  // namespace weft
