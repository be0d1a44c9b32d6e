// Elements of any type put in another place: see arrange.cc. Types matter by their size only, but for sums and one_hot.
// Napkin maths: a copy reads and writes every byte once; a transposition goes through a tile in shared memory, so that
// both its reads and its writes are whole lines.
#include "kernels/device/launch.cuh"
#include "kernels/device/permuted.h"
#include "tensor/dispatch.h"

namespace weft {

namespace {

constexpr int block_size = 256, tile = 32, tile_rows = 8;

__device__ int64_t thread_index() { return static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x; }

// The innermost axis stays innermost: one thread an element of y; neighbours read neighbours.
template <class Word> __global__ void permute_rows(const Word* x, Word* y, int64_t n, Permuted p) {
  const int64_t i = thread_index();
  if (i >= n) return;
  int64_t rest = i, from = 0;
#pragma unroll
  for (int k = Shape::max_rank - 1; k >= 0; --k) {
    if (k >= p.rank) continue;
    from += rest % p.extent[k] * p.from[k];
    rest /= p.extent[k];
  }
  y[i] = x[from];
}

// Axis `dense` of y is innermost in x. A block of 32 x 8 threads moves a tile of 32 x 32 elements between that axis and
// the innermost one of y; a row of the tile is one element wider, so that neither direction meets a bank twice.
template <class Word>
__global__ void permute_tiles(const Word* x, Word* y, Permuted p, int dense, int64_t across_tiles, int64_t down_tiles) {
  __shared__ Word buffer[tile][tile + 1];
  int64_t across = 0, down = 0, across_from = 0, down_to = 0, x_base = 0, y_base = 0;
  int64_t rest = blockIdx.x / (across_tiles * down_tiles);
#pragma unroll
  for (int k = Shape::max_rank - 1; k >= 0; --k) {
    if (k >= p.rank) continue;
    if (k == p.rank - 1) {
      across = p.extent[k], across_from = p.from[k];
    } else if (k == dense) {
      down = p.extent[k], down_to = p.to[k];
    } else {
      x_base += rest % p.extent[k] * p.from[k], y_base += rest % p.extent[k] * p.to[k];
      rest /= p.extent[k];
    }
  }
  const int64_t a0 = blockIdx.x % across_tiles * tile, d0 = blockIdx.x / across_tiles % down_tiles * tile;
  for (int a = threadIdx.y; a < tile; a += tile_rows) {
    if (a0 + a < across && d0 + threadIdx.x < down)
      buffer[a][threadIdx.x] = x[x_base + (a0 + a) * across_from + d0 + threadIdx.x];
  }
  __syncthreads();
  for (int d = threadIdx.y; d < tile; d += tile_rows) {
    if (d0 + d < down && a0 + threadIdx.x < across)
      y[y_base + (d0 + d) * down_to + a0 + threadIdx.x] = buffer[threadIdx.x][d];
  }
}

template <class Word> void permute_words(const Tensor& x, const Tensor& y, const Permuted& p) {
  const int64_t n = x.numel();
  if (p.from[p.rank - 1] == 1) {
    launch("permute_rows", permute_rows<Word>, grid_of(n, block_size), block_size, 0, elements<Word>(x),
           elements<Word>(y), n, p);
    return;
  }
  int dense = 0;
  while (p.from[dense] != 1) ++dense;
  const int64_t across = p.extent[p.rank - 1], down = p.extent[dense];
  const int64_t across_tiles = ceil_div<int64_t>(across, tile), down_tiles = ceil_div<int64_t>(down, tile);
  launch("permute_tiles", permute_tiles<Word>, grid_of(across_tiles * down_tiles * (n / (across * down)), 1),
         dim3(tile, tile_rows), 0, elements<Word>(x), elements<Word>(y), p, dense, across_tiles, down_tiles);
}

// y[o, k, i] = x[o, index[o, k, i], i]. One thread an element of y.
template <class Word>
__global__ void gather_words(const Word* x, const int64_t* index, Word* y, int64_t count, int64_t n, int64_t k,
                             int64_t inner) {
  const int64_t i = thread_index();
  if (i < count) y[i] = x[(i / (k * inner) * n + index[i]) * inner + i % inner];
}

// One thread a column [o, :, i]: it alone adds into that column, in the order of k.
template <class T>
__global__ void gather_sums(const T* dy, const int64_t* index, float* sums, int64_t columns, int64_t n, int64_t k,
                            int64_t inner) {
  const int64_t c = thread_index();
  if (c >= columns) return;
  const int64_t o = c / inner, i = c % inner;
  for (int64_t j = 0; j < k; ++j) {
    const int64_t at = (o * k + j) * inner + i;
    sums[(o * n + index[at]) * inner + i] += to_float(dy[at]);
  }
}

// One thread an element of y.
template <class Word>
__global__ void one_hot_words(const int64_t* ids, Word* y, int64_t count, int64_t classes, Word one) {
  const int64_t i = thread_index();
  if (i < count) y[i] = ids[i / classes] == i % classes ? one : Word{0};
}

template <class F> void on_size(DType dtype, F&& f) {
  switch (size_of(dtype)) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    default: return f(uint64_t{});
  }
}

}  // namespace

void permute_cuda(const Tensor& x, const Tensor& y, const Permuted& p) {
  on_size(x.dtype(), [&]<class Word>(Word) { permute_words<Word>(x, y, p); });
}

void gather_cuda(const Tensor& x, const Tensor& index, const Tensor& y, int64_t n, int64_t k, int64_t inner) {
  on_size(x.dtype(), [&]<class Word>(Word) {
    launch("gather", gather_words<Word>, grid_of(y.numel(), block_size), block_size, 0, elements<Word>(x),
           elements<int64_t>(index), elements<Word>(y), y.numel(), n, k, inner);
  });
}

void gather_backward_cuda(const Tensor& dy, const Tensor& index, const Tensor& dx, int64_t outer, int64_t n, int64_t k,
                          int64_t inner) {
  const Tensor sums = dx.dtype() == DType::f32 ? dx : Tensor::empty(dx.shape(), DType::f32, Device::cuda);
  cuda::zero(sums.raw(), sums.nbytes());
  on_float(dy.dtype(), [&]<class T> {
    launch("gather_backward", gather_sums<T>, grid_of(outer * inner, block_size), block_size, 0, elements<T>(dy),
           elements<int64_t>(index), elements<float>(sums), outer * inner, n, k, inner);
  });
  if (dx.dtype() != DType::f32) dx.copy_from(sums);
}

void one_hot_cuda(const Tensor& ids, const Tensor& y, int64_t classes) {
  uint64_t one = 0;
  on_any_dtype(y.dtype(), [&]<class T> {
    const T value = convert<T>(1.0f);
    memcpy(&one, &value, sizeof(T));
  });
  on_size(y.dtype(), [&]<class Word>(Word) {
    launch("one_hot", one_hot_words<Word>, grid_of(y.numel(), block_size), block_size, 0, elements<int64_t>(ids),
           elements<Word>(y), y.numel(), classes, static_cast<Word>(one));
  });
}

}  // namespace weft
