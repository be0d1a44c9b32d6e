// Copies move words as wide as every length, distance and address allows, neighbours by neighbouring threads.
#include "kernels/device/copies.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/device/launch.cuh"
#include "tensor/host_work.h"

namespace weft {

namespace {

constexpr int block_size = 256;

__device__ int64_t thread_index() { return static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x; }

// One thread a word. Distances are in words.
template <class Word>
__global__ void copy_words(Word* to, int64_t to_step, const Word* from, int64_t from_step, int64_t count,
                           int64_t words) {
  const int64_t i = thread_index();
  if (i >= count * words) return;
  const int64_t run = i / words, at = i % words;
  to[run * to_step + at] = from[run * from_step + at];
}

// One thread a word of y.
template <class Word>
__global__ void copy_row_words(const Word* x, Word* y, const int64_t* ids, int64_t n, int64_t words) {
  const int64_t i = thread_index();
  if (i < n * words) y[i] = x[ids[i / words] * words + i % words];
}

// Calls f(Word{}) with the widest word of 16, 8, 4, 2 or 1 bytes that divides all of `sizes`.
template <class F> void on_word(std::initializer_list<int64_t> sizes, F&& f) {
  int64_t all = 0;
  for (int64_t s : sizes) all |= s;
  switch (all & -all) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    case 8: return f(uint64_t{});
    default: return f(uint4{});
  }
}
int64_t address(const void* p) { return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p)); }

// A run of at most `piece_rows` equal ids: rows order[begin, end) of dy go into row `to` of dx, or of the partial sums.
// One without a place to go is there to fill a list.
struct Piece {
  int32_t begin = 0, end = 0, to = -1;
  bool partial = false;
};
constexpr int piece_rows = 64;

// How rows are added up: `first` pieces of dy, then `second` of the partial sums.
struct ScatterPlan {
  std::vector<int32_t> order;
  std::vector<Piece> first, second;
  int32_t partials = 0;
};

// One thread a column of a piece, neighbours in x; rows are added one after another, in f32.
template <class T, class Out>
__global__ void add_pieces(const T* x, const int32_t* order, const Piece* pieces, Out* dx, float* partial,
                           int64_t count, int64_t D) {
  const int64_t i = thread_index();
  if (i >= count * D) return;
  const Piece piece = pieces[i / D];
  if (piece.to < 0) return;
  const int64_t c = i % D;
  float sum = 0;
  for (int k = piece.begin; k < piece.end; ++k) sum += to_float(x[(order ? order[k] : k) * D + c]);
  if (piece.partial) {
    partial[piece.to * D + c] = sum;
  } else {
    dx[piece.to * D + c] = from_float<Out>(sum);
  }
}

// Equal ids become neighbours on the host, where the ids come from. Runs of more than piece_rows rows, such as those of
// a padding token, are summed in pieces and the pieces' sums after them, so that no thread adds a whole batch.
ScatterPlan plan_of(const Tensor& host_ids) {
  const int64_t* ids = host_ids.data<int64_t>();
  const auto n = static_cast<int32_t>(host_ids.numel());
  ScatterPlan plan;
  plan.order.resize(n);
  std::iota(plan.order.begin(), plan.order.end(), 0);
  std::stable_sort(plan.order.begin(), plan.order.end(), [&](int32_t a, int32_t b) { return ids[a] < ids[b]; });
  for (int32_t begin = 0, end; begin < n; begin = end) {
    const auto id = static_cast<int32_t>(ids[plan.order[begin]]);
    for (end = begin; end < n && ids[plan.order[end]] == id;) ++end;
    if (end - begin <= piece_rows) {
      plan.first.push_back({begin, end, id, false});
      continue;
    }
    const int32_t from = plan.partials;
    for (int32_t b = begin; b < end; b += piece_rows)
      plan.first.push_back({b, std::min(end, b + piece_rows), plan.partials++, true});
    plan.second.push_back({from, plan.partials, id, false});
  }
  return plan;
}

// As long as any n ids of V can make it: what is recorded has grids of one size, whatever ids come.
ScatterPlan longest(ScatterPlan plan, int64_t V) {
  const auto n = static_cast<int64_t>(plan.order.size()), runs = std::min(n, V), long_runs = n / (piece_rows + 1);
  plan.first.resize(std::min(n, runs + n / piece_rows));
  plan.second.resize(std::min(long_runs, V));
  plan.partials = static_cast<int32_t>(std::min(n, long_runs + n / piece_rows));
  return plan;
}

// order, first and second, one after another.
Tensor bytes_of(const ScatterPlan& plan) {
  const size_t sizes[] = {plan.first.size() * sizeof(Piece), plan.second.size() * sizeof(Piece), plan.order.size() * 4};
  const Tensor bytes = Tensor::empty({static_cast<int64_t>(sizes[0] + sizes[1] + sizes[2])}, DType::u8);
  auto* to = static_cast<char*>(bytes.raw());
  std::memcpy(to, plan.first.data(), sizes[0]);
  if (sizes[1] > 0) std::memcpy(to + sizes[0], plan.second.data(), sizes[1]);
  std::memcpy(to + sizes[0] + sizes[1], plan.order.data(), sizes[2]);
  return bytes;
}

}  // namespace

void copy_runs_cuda(void* to, int64_t to_step, const void* from, int64_t from_step, int64_t count, int64_t bytes) {
  on_word({address(to), address(from), to_step, from_step, bytes}, [&]<class Word>(Word) {
    constexpr int64_t w = sizeof(Word);
    launch("copy_runs", copy_words<Word>, grid_of(count * (bytes / w), block_size), block_size, 0,
           static_cast<Word*>(to), to_step / w, static_cast<const Word*>(from), from_step / w, count, bytes / w);
  });
}

void copy_rows_cuda(const void* x, void* y, const int64_t* ids, int64_t n, int64_t row_bytes) {
  on_word({address(x), address(y), row_bytes}, [&]<class Word>(Word) {
    constexpr int64_t w = sizeof(Word);
    launch("copy_rows", copy_row_words<Word>, grid_of(n * (row_bytes / w), block_size), block_size, 0,
           static_cast<const Word*>(x), static_cast<Word*>(y), ids, n, row_bytes / w);
  });
}

void scatter_add_rows_cuda(const Tensor& dx, int64_t V, int64_t D, const Tensor& ids, const Tensor& dy) {
  cuda::zero(dx.raw(), V * D * size_of(dx.dtype()));
  if (ids.numel() == 0 || D == 0) return;
  const bool recorded = recording_graph();
  const ScatterPlan plan = recorded ? longest(plan_of(ids), V) : plan_of(ids);
  const auto firsts = static_cast<int64_t>(plan.first.size()), seconds = static_cast<int64_t>(plan.second.size());
  const Tensor lists = from_host(Device::cuda, {ids}, [=, now = bytes_of(plan)] {
    return recorded ? bytes_of(longest(plan_of(ids), V)) : now;
  });
  const auto* first = elements<Piece>(lists);
  const Tensor sums = Tensor::empty({plan.partials, D}, DType::f32, Device::cuda);
  on_float(dy.dtype(), [&]<class T> {
    const auto add = [&]<class From>(const From* x, const int32_t* rows, const Piece* pieces, int64_t count) {
      launch("scatter_add", add_pieces<From, T>, grid_of(count * D, block_size), block_size, 0, x, rows, pieces,
             elements<T>(dx), elements<float>(sums), count, D);
    };
    add(elements<const T>(dy), reinterpret_cast<const int32_t*>(first + firsts + seconds), first, firsts);
    add(elements<const float>(sums), static_cast<const int32_t*>(nullptr), first + firsts, seconds);
  });
}

}  // namespace weft
