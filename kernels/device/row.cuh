// A row of a matrix in the hands of a team of threads, a warp or a block: read from memory once, in 128-bit accesses,
// kept in shared memory while it is computed on, written once. Each thread comes back to the elements it read itself,
// so no barrier is needed.
#pragma once

#include <algorithm>

#include "kernels/device/reduce.cuh"
#include "kernels/device/vector.cuh"

namespace weft {

/// How the rows of a matrix are shared out: 8 warps a block with a row each, or a block as wide as a longer row needs.
struct RowPlan {
  static constexpr int64_t kept_bytes = 96 << 10;  // a block asks for at most this much shared memory

  Team team;
  int block;      // threads
  int64_t teams;  // of a block
  bool kept;      // whether rows wait in shared memory; if not, they are read again for every pass
  size_t shared;  // bytes a block

  /// `inputs` rows are kept at a time, with `sums` numbers of f32 beside every column.
  RowPlan(int64_t cols, int64_t element_bytes, int inputs, int sums = 0) {
    const int64_t row = (cols * element_bytes + 15) / 16 * 16, threads = (row / 16 + 31) / 32 * 32;
    team = row <= (sums > 0 ? 1024 : 4096) ? Team::warp : Team::block;
    block = team == Team::warp ? 256 : static_cast<int>(std::clamp<int64_t>(threads, 64, 512));
    teams = team == Team::warp ? block / 32 : 1;
    const int64_t round = block / teams * (16 / element_bytes);  // columns that a team takes at a time, at most
    const int64_t sum_bytes = sums * (cols + round - 1) / round * round * 4;
    kept = teams * inputs * row + teams * sum_bytes <= kept_bytes;
    shared = teams * ((kept ? inputs * row : 0) + sum_bytes);
  }
};

/// Calls f<team, kept>() as the plan says.
template <class F> void on_plan(const RowPlan& plan, F&& f) {
  if (plan.team == Team::warp) {
    f.template operator()<Team::warp, true>();
  } else if (plan.kept) {
    f.template operator()<Team::block, true>();
  } else {
    f.template operator()<Team::block, false>();
  }
}

extern __shared__ uint4 row_memory[];

/// One number of f32 a column, such as a norm's weight, read along with a row.
struct Columns {
  const float* from;
  template <int V> __device__ Pack<float, V> pack(int64_t c) const { return Pack<float, V>::load(from + c); }
};

/// The passes below call f(value, column, others...) for every element of this thread; `others` are the values at the
/// same column of further rows, which this thread has read, or of Columns.
template <class T, int V, Team team, bool kept> class Row {
 public:
  /// Row of `cols` elements at `from`; the `slot`-th of `slots` rows that each team keeps.
  __device__ Row(const T* from, int64_t cols, int slot = 0, int slots = 1) : from_(from), cols_(cols) {
    if constexpr (kept) kept_ = reinterpret_cast<T*>(row_memory + (team_index<team>() * slots + slot) * pitch(cols));
  }
  /// 16-byte words of one kept row.
  __device__ static int64_t pitch(int64_t cols) { return (cols * sizeof(T) + 15) / 16; }

  /// The first pass.
  template <class F, class... With> __device__ void read(F f, const With&... with) const {
    for_packs([&](int64_t c) {
      const auto p = Pack<T, V>::load(from_ + c);
      if constexpr (kept) p.store(kept_ + c);
      each(p, c, f, with.template pack<V>(c)...);
    });
  }
  /// A later pass over the same elements.
  template <class F, class... With> __device__ void again(F f, const With&... with) const {
    for_packs([&](int64_t c) { each(pack<V>(c), c, f, with.template pack<V>(c)...); });
  }
  /// A later pass: to[column] = f(...).
  template <class F, class... With> __device__ void write(T* to, F f, const With&... with) const {
    for_packs([&](int64_t c) {
      Pack<T, V> out;
      each(
          pack<V>(c), c,
          [&](float v, int64_t column, auto... others) {
            out.set(static_cast<int>(column - c), f(v, column, others...));
          },
          with.template pack<V>(c)...);
      out.store(to + c);
    });
  }
  /// V elements again, from the kept copy if there is one.
  template <int> __device__ Pack<T, V> pack(int64_t c) const {
    if constexpr (kept) return Pack<T, V>::load(kept_ + c);
    return Pack<T, V>::load(from_ + c);
  }

 private:
  template <class F> __device__ void for_packs(F f) const {
    for (int64_t c = team_lane<team>() * V; c < cols_; c += team_size<team>() * V) f(c);
  }
  template <class F, class... Packs>
  __device__ static void each(const Pack<T, V>& p, int64_t c, F&& f, const Packs&... others) {
#pragma unroll
    for (int i = 0; i < V; ++i) f(p[i], c + i, others[i]...);
  }
  const T* from_;
  T* kept_ = nullptr;
  int64_t cols_;
};

/// Sums over the rows that a block sees, one number a column, in shared memory behind `slots` kept rows a team; `which`
/// of `sums`. Laid out so that a warp's threads, V columns each, meet no bank twice.
template <int V, Team team> class ColumnSums {
 public:
  __device__ ColumnSums(int64_t kept_words, int64_t cols, int which, int sums) : cols_(cols) {
    const int64_t round = team_size<team>() * V;
    size_ = (cols + round - 1) / round * round;
    first_ = reinterpret_cast<float*>(row_memory + kept_words) + which * team_count<team>() * size_;
    for (int64_t i = team_lane<team>(); i < size_; i += team_size<team>()) own()[i] = 0;
  }
  /// Column `c` must be one of this thread's.
  __device__ void add(int64_t c, float v) {
    const int64_t i = c & (V - 1), lane = team_lane<team>();
    own()[c - lane * V - i + i * team_size<team>() + lane] += v;
  }
  /// to[column] = the sum over the teams of the block, in order. All threads must call.
  __device__ void write(float* to) const {
    __syncthreads();
    for (int64_t c = threadIdx.x; c < cols_; c += blockDim.x) {
      float sum = 0;
      for (int t = 0; t < team_count<team>(); ++t) sum += first_[t * size_ + place(c)];
      to[c] = sum;
    }
  }

 private:
  __device__ float* own() const { return first_ + team_index<team>() * size_; }
  __device__ int64_t place(int64_t c) const {
    const int64_t lanes = team_size<team>(), round = lanes * V;
    return c / round * round + c % V * lanes + c % round / V;
  }
  float* first_;
  int64_t cols_, size_;
};

/// Blocks of a kernel that walks over rows with sums of its own: enough to fill a GPU, few enough that the sums cost
/// little.
inline int64_t row_pieces(int64_t rows, const RowPlan& plan) {
  return std::min<int64_t>(ceil_div(rows, plan.teams), 512);
}

}  // namespace weft
