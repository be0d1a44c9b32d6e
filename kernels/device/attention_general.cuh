// Attention for heads wider than 128, whatever their size: right and deterministic, not fast. One warp a query (or
// key), its lanes along D, sums in shared memory (a row of D floats a warp, two for keys); every product is read from
// global memory again: 0.5 FLOP a byte, from the caches.
#pragma once

#include "kernels/device/attention_kernel.cuh"

namespace weft::flash {

constexpr int general_warps = 4;

template <class T> __device__ float dot(const T* a, const T* b, int n) {
  float sum = 0;
  for (int d = threadIdx.x % 32; d < n; d += 32) sum = fmaf(to_float(a[d]), to_float(b[d]), sum);
  return warp_reduce(sum, Plus{});
}

/// Enters the batch element of this warp's row, a query or a key, numbered (b T + i) H + h; false where there is none.
template <bool ByKeys, class T, bool Packed> __device__ bool general_row(Problem<T, Packed>& p, int& i, int& h) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * general_warps + threadIdx.x / 32;
  const int rows = ByKeys ? p.Tk : p.Tq;
  const int64_t element = row / p.H / rows;
  if (element >= p.B) return false;
  h = row % p.H, i = row / p.H % rows;
  p.enter(static_cast<int>(element));
  return i < (ByKeys ? p.keys() : p.queries());
}

template <class T, bool Packed> __global__ void general_forward_kernel(Problem<T, Packed> p, T* y, float* lse) {
  extern __shared__ float rows_of_sums[];
  float* sums = rows_of_sums + threadIdx.x / 32 * p.D;
  int i, h;
  if (!general_row<false>(p, i, h)) return;
  const int lane = threadIdx.x % 32;
  for (int d = lane; d < p.D; d += 32) sums[d] = 0;
  float top = -INFINITY, total = 0;
  for (int j = 0; j < p.last_key(i + 1); ++j) {
    const float s = p.score(h, i, j, dot(p.q + p.query_at(i, h), p.k + p.key_at(j, h), p.D));
    if (s == -INFINITY) continue;
    const float most = fmaxf(top, s), factor = __expf(top - most), weight = __expf(s - most);
    const T* v = p.v + p.key_at(j, h);
    for (int d = lane; d < p.D; d += 32) sums[d] = fmaf(weight, to_float(v[d]), sums[d] * factor);
    total = total * factor + weight, top = most;
  }
  for (int d = lane; d < p.D; d += 32) y[p.query_at(i, h) + d] = from_float<T>(total == 0 ? 0.0f : sums[d] / total);
  if (lane == 0) lse[p.row_at(h, i)] = total == 0 ? INFINITY : top + logf(total);
}

/// p and ds of one pair.
template <class T, bool Packed>
__device__ void general_pair(const Problem<T, Packed>& p, const Gradient<T>& g, int h, int i, int j, float& s, float& ds) {
  const int64_t query = p.query_at(i, h), key = p.key_at(j, h);
  s = p.score(h, i, j, dot(p.q + query, p.k + key, p.D));
  ds = dot(g.dy + query, p.v + key, p.D);
  g.weigh(s, ds, p.row_at(h, i));
}

template <class T, bool Packed, bool ByKeys>
__global__ void general_backward_kernel(Problem<T, Packed> p, Gradient<T> g, T* d_first, T* d_second) {
  extern __shared__ float rows_of_sums[];
  float *sums = rows_of_sums + threadIdx.x / 32 * 2 * p.D, *more = sums + p.D;
  int mine, h;
  if (!general_row<ByKeys>(p, mine, h)) return;
  const int lane = threadIdx.x % 32;
  for (int d = lane; d < p.D; d += 32) sums[d] = more[d] = 0;
  const int end = ByKeys ? p.queries() : p.last_key(mine + 1);
  for (int theirs = ByKeys && p.causal ? mine : 0; theirs < end; ++theirs) {
    const int i = ByKeys ? theirs : mine, j = ByKeys ? mine : theirs;
    float s, ds;
    general_pair(p, g, h, i, j, s, ds);
    const T* other = ByKeys ? p.q + p.query_at(i, h) : p.k + p.key_at(j, h);
    const T* dy = g.dy + p.query_at(i, h);
    for (int d = lane; d < p.D; d += 32) {
      sums[d] = fmaf(ds, to_float(other[d]), sums[d]);
      if (ByKeys) more[d] = fmaf(s, to_float(dy[d]), more[d]);
    }
  }
  const int64_t at = ByKeys ? p.key_at(mine, h) : p.query_at(mine, h);
  for (int d = lane; d < p.D; d += 32) {
    if (d_first) d_first[at + d] = from_float<T>(p.scale * sums[d]);
    if (ByKeys && d_second) d_second[at + d] = from_float<T>(more[d]);
  }
}

/// One warp an element of dbias, over the batch in order.
template <class T, bool Packed>
__global__ void general_bias_kernel(Problem<T, Packed> p, Gradient<T> g, T* dbias) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * general_warps + threadIdx.x / 32;
  if (at >= static_cast<int64_t>(p.H) * p.Tq * p.Tk) return;
  const int j = at % p.Tk, i = at / p.Tk % p.Tq, h = at / p.Tk / p.Tq;
  float sum = 0;
  for (int b = 0; b < p.B; ++b) {
    p.enter(b);
    if (i >= p.queries() || j >= p.keys()) continue;
    float s, ds;
    general_pair(p, g, h, i, j, s, ds);
    sum += ds;
  }
  if (threadIdx.x % 32 == 0) dbias[at] = from_float<T>(sum);
}

}  // namespace weft::flash
