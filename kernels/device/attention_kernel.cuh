// Attention on the cuda device, over tiles of either precision (attention_bf16.cuh, attention_f32.cuh). Dao,
// "FlashAttention-2", 2023: scores live in registers, a running maximum and sum join the tiles of a row; the backward
// computes p again from the log-sum-exp of every row. No float atomics: the gradients of queries and of keys are two
// kernels, each of whose blocks owns its rows, so that results are the same every time; that costs 7 products instead
// of 5.
#pragma once

#include "kernels/device/launch.cuh"
#include "kernels/device/pipeline.cuh"
#include "kernels/device/reduce.cuh"
#include "kernels/device/vector.cuh"

namespace weft::flash {

/// What all kernels of one call know. Rows of q and k lie H D elements apart.
template <class T> struct Call {
  const T *q, *k, *v;
  const bool* mask;        // [B, Tk], or null
  const T* bias;           // [H, Tq, Tk], or null
  const int* key_ends;     // [B]: one past the last key to attend to; null without a mask
  const int64_t* offsets;  // [B + 1]: where the rows of packed texts begin; null: every text has Tq and Tk
  int B, Tq, Tk, H, D;     // Tq and Tk are those of the longest text, and of the bias
  float scale;
  bool causal;
  bool paired_bias;  // rows of the bias have an even length and lie at multiples of two elements
};

/// The same for a kernel, which enters the batch element that it is at. What packed texts need costs registers, so
/// they are a type of their own.
template <class T, bool Packed> struct Problem : Call<T> {
  int b;
  int64_t first;  // row of a packed text, and how many there are
  int rows;

  __device__ void enter(int element) {
    b = element;
    if constexpr (Packed) first = this->offsets[b], rows = static_cast<int>(this->offsets[b + 1] - first);
  }
  __device__ int queries() const { return Packed ? rows : this->Tq; }
  __device__ int keys() const { return Packed ? rows : this->Tk; }
  __device__ int64_t step() const { return static_cast<int64_t>(this->H) * this->D; }
  __device__ int64_t query_at(int i, int h) const {
    return (((Packed ? first : static_cast<int64_t>(b) * this->Tq) + i) * this->H + h) * this->D;
  }
  __device__ int64_t key_at(int j, int h) const {
    return (((Packed ? first : static_cast<int64_t>(b) * this->Tk) + j) * this->H + h) * this->D;
  }
  __device__ int64_t row_at(int h, int i) const { return (static_cast<int64_t>(b) * this->H + h) * this->Tq + i; }
  __device__ int key_end() const { return !Packed && this->key_ends ? this->key_ends[b] : keys(); }
  /// Keys that queries before i_end may attend to.
  __device__ int last_key(int i_end) const { return this->causal ? min(key_end(), i_end) : key_end(); }
  __device__ int64_t bias_at(int h, int i, int j) const {
    return (static_cast<int64_t>(h) * this->Tq + i) * this->Tk + j;
  }
  __device__ bool sees(int i, int j) const {
    return i < queries() && j < keys() && !(this->causal && j > i) &&
           (Packed || !(this->mask && !this->mask[static_cast<int64_t>(b) * this->Tk + j]));
  }
  /// The score from the plain product; minus infinity where query i does not see key j.
  __device__ float score(int h, int i, int j, float product) const {
    if (!sees(i, j)) return -INFINITY;
    const float s = product * this->scale;
    return this->bias ? s + to_float(this->bias[bias_at(h, i, j)]) : s;
  }
};

/// Turns a thread's products with query i (slot `slot`) into scores; keys begin at j0. Its columns come in pairs of
/// neighbours, and so does their bias where it lies well: half the loads, of whole words.
template <class Tile, class T, bool Packed>
__device__ void scores_of_query(const Problem<T, Packed>& p, typename Tile::Scores& s, int h, int i, int slot, int j0) {
  if (!p.bias || !p.paired_bias) {
#pragma unroll
    for (int j = 0; j < Tile::score_columns; ++j) s(slot, j) = p.score(h, i, j0 + Tile::column(j), s(slot, j));
    return;
  }
#pragma unroll
  for (int j = 0; j < Tile::score_columns; j += 2) {
    const int key = j0 + Tile::column(j);
    Pack<T, 2> pair{};
    if (i < p.queries() && key < p.keys()) pair = Pack<T, 2>::load(p.bias + p.bias_at(h, i, key));
#pragma unroll
    for (int e = 0; e < 2; ++e)
      s(slot, j + e) = p.sees(i, key + e) ? s(slot, j + e) * p.scale + pair[e] : -INFINITY;
  }
}

/// delta [B, H, Tq] = the sums of y dy over D: one warp a row, lanes along D.
template <class T, bool Packed>
__global__ void delta_kernel(Problem<T, Packed> p, const T* y, const T* dy, float* delta) {
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;  // (b Tq + i) H + h
  const int h = row % p.H, i = row / p.H % p.Tq;
  const int64_t element = row / p.H / p.Tq;
  if (element >= p.B) return;
  p.enter(static_cast<int>(element));
  if (i >= p.queries()) return;
  const int64_t at = p.query_at(i, h);
  float sum = 0;
  for (int d = threadIdx.x % 32; d < p.D; d += 32) sum = fmaf(to_float(y[at + d]), to_float(dy[at + d]), sum);
  sum = warp_reduce(sum, Plus{});
  if (threadIdx.x % 32 == 0) delta[p.row_at(h, i)] = sum;
}

/// Shared memory of the kernels below, in bytes: tiles of own rows, a ring of tiles of others, room for p.
template <class Tile> constexpr size_t shared_bytes(int own_tiles, int other_tiles) {
  return sizeof(typename Tile::Element) * Tile::row_elements *
             (own_tiles * Tile::own + Tile::stages * other_tiles * Tile::others) +
         sizeof(float) * Tile::scratch_elements;
}

/// y and lse. Block: Tile::own queries (blockIdx.x) of head blockIdx.y of batch element blockIdx.z; walks over the
/// keys.
template <class Tile, bool Packed, class T = typename Tile::Element>
__global__ __launch_bounds__(Tile::threads) void forward_kernel(Problem<T, Packed> p, T* y, float* lse) {
  extern __shared__ __align__(16) unsigned char memory[];
  T* own = reinterpret_cast<T*>(memory);
  T* ring = own + Tile::own * Tile::row_elements;
  constexpr int tile = Tile::others * Tile::row_elements;
  float* scratch = reinterpret_cast<float*>(ring + 2 * Tile::stages * tile);
  p.enter(blockIdx.z);
  const int h = blockIdx.y, i0 = blockIdx.x * Tile::own, rows = min(Tile::own, p.queries() - i0);
  if (Packed && rows <= 0) return;  // a text shorter than the longest
  const int keys = p.last_key(i0 + rows);

  float top[Tile::slots], total[Tile::slots];
#pragma unroll
  for (int i = 0; i < Tile::slots; ++i) top[i] = -INFINITY, total[i] = 0;
  typename Tile::Sums sums = {};

  Tile::template copy<Tile::own>(own, p.q + p.query_at(i0, h), p.step(), rows, p.D);
  const auto load = [&](int step, int stage) {
    const int j0 = step * Tile::others;
    T* to = ring + 2 * stage * tile;
    Tile::template copy<Tile::others>(to, p.k + p.key_at(j0, h), p.step(), p.keys() - j0, p.D);
    Tile::template copy<Tile::others>(to + tile, p.v + p.key_at(j0, h), p.step(), p.keys() - j0, p.D);
  };
  const auto compute = [&](int step, int stage) {
    const T* k_tile = ring + 2 * stage * tile;
    typename Tile::Scores s;
    Tile::scores(s, own, k_tile);
#pragma unroll
    for (int i = 0; i < Tile::slots; ++i) {
      float most = top[i];
      if constexpr (Tile::column_pairs) scores_of_query<Tile>(p, s, h, i0 + Tile::row(i), i, step * Tile::others);
#pragma unroll
      for (int j = 0; j < Tile::score_columns; ++j) {
        if constexpr (!Tile::column_pairs)
          s(i, j) = p.score(h, i0 + Tile::row(i), step * Tile::others + Tile::column(j), s(i, j));
        most = fmaxf(most, s(i, j));
      }
      most = Tile::reduce_row(most, Maximum{});
      const float shift = most == -INFINITY ? 0.0f : most, factor = __expf(top[i] - shift);
      float added = 0;
#pragma unroll
      for (int j = 0; j < Tile::score_columns; ++j) added += s(i, j) = __expf(s(i, j) - shift);
      total[i] = total[i] * factor + Tile::reduce_row(added, Plus{});
      top[i] = most;
#pragma unroll
      for (int j = 0; j < Tile::sum_columns; ++j) sums(i, j) *= factor;
    }
    Tile::accumulate(sums, s, k_tile + tile, scratch);
  };
  pipelined<Tile::stages>((keys + Tile::others - 1) / Tile::others, load, compute);

  float factor[Tile::slots];
#pragma unroll
  for (int i = 0; i < Tile::slots; ++i) {
    factor[i] = total[i] == 0 ? 0.0f : 1 / total[i];
    // Plus infinity makes every weight of the row 0 in the backward.
    if (Tile::column(0) == 0 && Tile::row(i) < rows)
      lse[p.row_at(h, i0 + Tile::row(i))] = total[i] == 0 ? INFINITY : top[i] + logf(total[i]);
  }
  Tile::store(sums, factor, y + p.query_at(i0, h), p.step(), rows, p.D);
}

/// The tape's side of a problem.
template <class T> struct Gradient {
  const T* dy;
  const float *lse, *delta;  // [B, H, Tq]

  /// Turns scores into p and products dy v^T into ds, for query i at `row`.
  __device__ void weigh(float& s, float& ds, int64_t row) const {
    s = __expf(s - lse[row]);
    ds = s * (ds - delta[row]);
  }
};

/// dq (ByKeys = false) or dk and dv (true). Block: Tile::own queries or keys; walks over the others. Sums: two products
/// of D columns with ByKeys, one without.
template <class Tile, bool ByKeys, bool Packed, class T = typename Tile::Element>
__global__ __launch_bounds__(Tile::threads, 2) void backward_kernel(Problem<T, Packed> p, Gradient<T> g, T* d_first,
                                                                    T* d_second) {
  extern __shared__ __align__(16) unsigned char memory[];
  constexpr int own_tile = Tile::own * Tile::row_elements, tile = Tile::others * Tile::row_elements;
  T *own = reinterpret_cast<T*>(memory), *ring = own + 2 * own_tile;
  float* scratch = reinterpret_cast<float*>(ring + 2 * Tile::stages * tile);
  p.enter(blockIdx.z);
  const int h = blockIdx.y, first = blockIdx.x * Tile::own, rows = min(Tile::own, (ByKeys ? p.keys() : p.queries()) - first);
  if (Packed && rows <= 0) return;
  const int others = ByKeys ? p.queries() : p.last_key(first + rows);
  const int64_t step_elements = p.step();
  const auto at = [&](bool key, int row) { return key ? p.key_at(row, h) : p.query_at(row, h); };

  typename Tile::Sums sums = {}, more = {};
  // Queries before the first key of a causal tile see none of it, keys after the last one of the mask are seen by none.
  const int skipped = ByKeys && p.causal ? first / Tile::others : 0;
  const int steps = ByKeys && first >= p.key_end() ? 0 : (others + Tile::others - 1) / Tile::others - skipped;
  Tile::template copy<Tile::own>(own, (ByKeys ? p.k : p.q) + at(ByKeys, first), step_elements, rows, p.D);
  Tile::template copy<Tile::own>(own + own_tile, (ByKeys ? p.v : g.dy) + at(ByKeys, first), step_elements, rows, p.D);
  const auto load = [&](int step, int stage) {
    const int o0 = (step + skipped) * Tile::others, left = (ByKeys ? p.queries() : p.keys()) - o0;
    T* to = ring + 2 * stage * tile;
    Tile::template copy<Tile::others>(to, (ByKeys ? p.q : p.k) + at(!ByKeys, o0), step_elements, left, p.D);
    Tile::template copy<Tile::others>(to + tile, (ByKeys ? g.dy : p.v) + at(!ByKeys, o0), step_elements, left, p.D);
  };
  const auto compute = [&](int step, int stage) {
    const T* other = ring + 2 * stage * tile;
    typename Tile::Scores s, ds;
    Tile::scores(s, own, other);
    Tile::scores(ds, own + own_tile, other + tile);
#pragma unroll
    for (int i = 0; i < Tile::slots; ++i) {
      const int mine = first + Tile::row(i), others0 = (step + skipped) * Tile::others;
      constexpr bool in_pairs = Tile::column_pairs && !ByKeys;
      if constexpr (in_pairs) scores_of_query<Tile>(p, s, h, mine, i, others0);
#pragma unroll
      for (int j = 0; j < Tile::score_columns; ++j) {
        const int theirs = others0 + Tile::column(j), query = ByKeys ? theirs : mine, key = ByKeys ? mine : theirs;
        if constexpr (!in_pairs) s(i, j) = p.score(h, query, key, s(i, j));
        g.weigh(s(i, j), ds(i, j), p.row_at(h, min(query, p.queries() - 1)));
      }
    }
    if constexpr (ByKeys) Tile::accumulate(more, s, other + tile, scratch);
    Tile::accumulate(sums, ds, other, scratch);
  };
  pipelined<Tile::stages>(steps, load, compute);

  float factor[Tile::slots], one[Tile::slots];
#pragma unroll
  for (int i = 0; i < Tile::slots; ++i) factor[i] = p.scale, one[i] = 1;
  if (d_first) Tile::store(sums, factor, d_first + at(ByKeys, first), step_elements, rows, p.D);
  if (ByKeys && d_second) Tile::store(more, one, d_second + at(ByKeys, first), step_elements, rows, p.D);
}

/// dbias [H, Tq, Tk], the sum of ds over the batch: a block owns Tile::own queries x Tile::others keys (blockIdx.x, y)
/// of a head and a group of batch elements (blockIdx.z = group H + head), over which it adds up in order, in registers.
/// With one group the result goes to dbias, else to partial [groups][H][Tq][Tk].
template <class Tile, bool Packed, class T = typename Tile::Element>
__global__ __launch_bounds__(Tile::threads, 2) void bias_kernel(Problem<T, Packed> p, Gradient<T> g, T* dbias, float* partial,
                                                                int groups) {
  extern __shared__ __align__(16) unsigned char memory[];
  constexpr int own_tile = Tile::own * Tile::row_elements, tile = Tile::others * Tile::row_elements;
  T *own = reinterpret_cast<T*>(memory), *other = own + 2 * own_tile;
  const int h = blockIdx.z % p.H, group = blockIdx.z / p.H, i0 = blockIdx.x * Tile::own, j0 = blockIdx.y * Tile::others;
  float sums[Tile::slots][Tile::score_columns] = {};
  const int begin = static_cast<int64_t>(p.B) * group / groups, end = static_cast<int64_t>(p.B) * (group + 1) / groups;
  for (int b = begin; b < end; ++b) {
    p.enter(b);
    // The whole block agrees.
    if ((Packed && i0 >= p.queries()) || j0 >= p.last_key(min(i0 + Tile::own, p.queries()))) continue;
    const int64_t query = p.query_at(i0, h), key = p.key_at(j0, h);
    __syncthreads();
    Tile::template copy<Tile::own>(own, p.q + query, p.step(), p.queries() - i0, p.D);
    Tile::template copy<Tile::own>(own + own_tile, g.dy + query, p.step(), p.queries() - i0, p.D);
    Tile::template copy<Tile::others>(other, p.k + key, p.step(), p.keys() - j0, p.D);
    Tile::template copy<Tile::others>(other + tile, p.v + key, p.step(), p.keys() - j0, p.D);
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
    typename Tile::Scores s, ds;
    Tile::scores(s, own, other);
    Tile::scores(ds, own + own_tile, other + tile);
#pragma unroll
    for (int i = 0; i < Tile::slots; ++i) {
      const int row = i0 + Tile::row(i);
      if constexpr (Tile::column_pairs) scores_of_query<Tile>(p, s, h, row, i, j0);
#pragma unroll
      for (int j = 0; j < Tile::score_columns; ++j) {
        if constexpr (!Tile::column_pairs) s(i, j) = p.score(h, row, j0 + Tile::column(j), s(i, j));
        g.weigh(s(i, j), ds(i, j), p.row_at(h, min(row, p.queries() - 1)));
        sums[i][j] += ds(i, j);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < Tile::slots; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::score_columns; ++j) {
      const int row = i0 + Tile::row(i), column = j0 + Tile::column(j);
      if (row >= p.Tq || column >= p.Tk) continue;
      const int64_t at = p.bias_at(h, row, column);
      if (groups == 1) {
        dbias[at] = from_float<T>(sums[i][j]);
      } else {
        partial[group * (static_cast<int64_t>(p.H) * p.Tq * p.Tk) + at] = sums[i][j];
      }
    }
  }
}

/// dbias = the groups added in order, one thread an element.
template <class T> __global__ void bias_sum_kernel(const float* partial, T* dbias, int64_t count, int groups) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  float sum = 0;
  for (int group = 0; group < groups; ++group) sum += partial[group * count + i];
  dbias[i] = from_float<T>(sum);
}

}  // namespace weft::flash
