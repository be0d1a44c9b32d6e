// Copies move words as wide as every length, distance and address allows, neighbours by neighbouring threads.
#include "kernels/device/copies.h"

#include <algorithm>
#include <numeric>

#include "kernels/device/launch.cuh"

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
struct Piece {
  int32_t begin, end, to;
  bool partial;
};
constexpr int piece_rows = 64;

// One thread a column of a piece, neighbours in x; rows are added one after another, in f32.
template <class T, class Out>
__global__ void add_pieces(const T* x, const int32_t* order, const Piece* pieces, Out* dx, float* partial,
                           int64_t count, int64_t D) {
  const int64_t i = thread_index();
  if (i >= count * D) return;
  const Piece piece = pieces[i / D];
  const int64_t c = i % D;
  float sum = 0;
  for (int k = piece.begin; k < piece.end; ++k) sum += to_float(x[(order ? order[k] : k) * D + c]);
  if (piece.partial) {
    partial[piece.to * D + c] = sum;
  } else {
    dx[piece.to * D + c] = from_float<Out>(sum);
  }
}

template <class V> Tensor on_device_copy(const std::vector<V>& values) {
  const Tensor t = Tensor::empty({static_cast<int64_t>(values.size() * sizeof(V))}, DType::u8, Device::cuda);
  cuda::copy_to_device(t.raw(), values.data(), t.nbytes());
  return t;
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

// Equal ids become neighbours on the host, where the ids come from. Runs of more than piece_rows rows, such as those of
// a padding token, are summed in pieces and the pieces' sums after them, so that no thread adds a whole batch.
void scatter_add_rows_cuda(const Tensor& dx, int64_t V, int64_t D, const std::vector<int64_t>& ids, const Tensor& dy) {
  const auto n = static_cast<int32_t>(ids.size());
  cuda::zero(dx.raw(), V * D * size_of(dx.dtype()));
  if (n == 0 || D == 0) return;
  std::vector<int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return ids[a] < ids[b]; });
  std::vector<Piece> first, second;
  int32_t partials = 0;
  for (int32_t begin = 0, end; begin < n; begin = end) {
    const auto id = static_cast<int32_t>(ids[order[begin]]);
    for (end = begin; end < n && ids[order[end]] == id;) ++end;
    if (end - begin <= piece_rows) {
      first.push_back({begin, end, id, false});
      continue;
    }
    const int32_t from = partials;
    for (int32_t b = begin; b < end; b += piece_rows)
      first.push_back({b, std::min(end, b + piece_rows), partials++, true});
    second.push_back({from, partials, id, false});
  }
  const Tensor sums = Tensor::empty({partials, D}, DType::f32, Device::cuda), place = on_device_copy(order);
  on_float(dy.dtype(), [&]<class T> {
    const auto add = [&]<class From>(const From* x, const int32_t* rows, const std::vector<Piece>& pieces) {
      const Tensor list = on_device_copy(pieces);
      const auto count = static_cast<int64_t>(pieces.size());
      launch("scatter_add", add_pieces<From, T>, grid_of(count * D, block_size), block_size, 0, x, rows,
             elements<Piece>(list), elements<T>(dx), elements<float>(sums), count, D);
    };
    add(elements<const T>(dy), elements<int32_t>(place), first);
    if (!second.empty()) add(elements<const float>(sums), static_cast<const int32_t*>(nullptr), second);
  });
}

}  // namespace weft
