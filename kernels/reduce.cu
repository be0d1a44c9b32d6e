// Sums go through sum_axes_cuda() (tensor/cuda_elements.cu); here are what undoes them, and the rankings. See
// reduce.cc. x is seen as [outer, n, inner] around the axis; for topk inner is 1. Napkin maths: argmax reads x once, 4
// bytes an element in f32; topk reads it k times, from the second on out of the cache.
#include "kernels/device/reduce.cuh"
#include "tensor/cuda_elements.h"

namespace weft {

namespace {

constexpr int block_size = 256;

__device__ int64_t thread_index() { return static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x; }

// dx[o, k, i] = dy[o, i] scale. One thread an element of dx.
template <class T>
__global__ void repeat_elements(const T* dy, T* dx, int64_t count, int64_t n, int64_t inner, float scale) {
  const int64_t i = thread_index();
  if (i < count) dx[i] = from_float<T>(to_float(dy[i / (n * inner) * inner + i % inner]) * scale);
}

struct Ranked {
  float value = 0;
  int64_t index = -1;  // none yet
};

// Whether a comes before b where the largest comes first: NaN before every number, equals by index.
__device__ bool before(const Ranked& a, const Ranked& b) {
  if (b.index < 0) return a.index >= 0;
  if (a.index < 0) return false;
  const bool above = a.value > b.value || (isnan(a.value) && !isnan(b.value));
  const bool below = b.value > a.value || (isnan(b.value) && !isnan(a.value));
  return above || (!below && a.index < b.index);
}

__device__ Ranked warp_first(Ranked mine) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const Ranked other{__shfl_xor_sync(all_lanes, mine.value, step), __shfl_xor_sync(all_lanes, mine.index, step)};
    if (before(other, mine)) mine = other;
  }
  return mine;
}

// One warp a row; lanes stride over the columns.
template <class T> __global__ void argmax_rows(const T* x, int64_t* index, int64_t rows, int64_t cols) {
  const int64_t r = thread_index() / 32;
  if (r >= rows) return;
  Ranked best;
  for (int64_t c = threadIdx.x % 32; c < cols; c += 32) {
    const Ranked here{to_float(x[r * cols + c]), c};
    if (before(here, best)) best = here;
  }
  best = warp_first(best);
  if (threadIdx.x % 32 == 0) index[r] = best.index;
}

// One thread a column of [n, inner]; neighbours read neighbours.
template <class T> __global__ void argmax_columns(const T* x, int64_t* index, int64_t outer, int64_t n, int64_t inner) {
  const int64_t o = thread_index();
  if (o >= outer * inner) return;
  const T* column = x + o / inner * n * inner + o % inner;
  Ranked best;
  for (int64_t k = 0; k < n; ++k) {
    const Ranked here{to_float(column[k * inner]), k};
    if (before(here, best)) best = here;
  }
  index[o] = best.index;
}

// One warp a row, one pass a place: the first of those that come after the one found before.
template <class T>
__global__ void topk_rows(const T* x, T* values, int64_t* indices, int64_t rows, int64_t cols, int64_t k) {
  const int64_t r = thread_index() / 32;
  if (r >= rows) return;
  Ranked last;
  for (int64_t j = 0; j < k; ++j) {
    Ranked best;
    for (int64_t c = threadIdx.x % 32; c < cols; c += 32) {
      const Ranked here{to_float(x[r * cols + c]), c};
      if ((j == 0 || before(last, here)) && before(here, best)) best = here;
    }
    last = warp_first(best);
    if (threadIdx.x % 32 == 0) {
      values[r * k + j] = x[r * cols + last.index];
      indices[r * k + j] = last.index;
    }
  }
}

// The element of [outer, n, inner] that place `o` of [outer, k, inner] points to.
__device__ int64_t target_of(int64_t o, int64_t at, int64_t n, int64_t k, int64_t inner) {
  return (o / (k * inner) * n + at) * inner + o % inner;
}

// y[o] = x[target]. One thread an element of y.
template <class T>
__global__ void pick_elements(const T* x, const int64_t* index, T* y, int64_t count, int64_t n, int64_t k,
                              int64_t inner) {
  const int64_t o = thread_index();
  if (o < count) y[o] = x[target_of(o, index[o], n, k, inner)];
}

// dx[target] = dy[o]; no two targets are equal.
template <class T>
__global__ void place_elements(const T* dy, const int64_t* index, T* dx, int64_t count, int64_t n, int64_t k,
                               int64_t inner) {
  const int64_t o = thread_index();
  if (o < count) dx[target_of(o, index[o], n, k, inner)] = dy[o];
}

}  // namespace

void sum_around_cuda(const Tensor& x, const Tensor& y, int64_t outer, int64_t n, int64_t inner, double scale) {
  AxisSums axes;
  if (outer != 1) axes.kept.push_back(outer, n * inner);
  axes.summed.push_back(n, inner);
  if (inner != 1) axes.kept.push_back(inner, 1);
  sum_axes_cuda(x, y, axes, scale);
}

void repeat_around_cuda(const Tensor& dy, const Tensor& dx, int64_t n, int64_t inner, double scale) {
  on_float(dy.dtype(), [&]<class T> {
    launch("repeat", repeat_elements<T>, grid_of(dx.numel(), block_size), block_size, 0, elements<T>(dy),
           elements<T>(dx), dx.numel(), n, inner, static_cast<float>(scale));
  });
}

void argmax_cuda(const Tensor& x, const Tensor& index, int64_t outer, int64_t n, int64_t inner) {
  on_float(x.dtype(), [&]<class T> {
    if (inner == 1) {
      launch("argmax_rows", argmax_rows<T>, grid_of(outer, block_size / 32), block_size, 0, elements<T>(x),
             elements<int64_t>(index), outer, n);
    } else {
      launch("argmax_columns", argmax_columns<T>, grid_of(outer * inner, block_size), block_size, 0, elements<T>(x),
             elements<int64_t>(index), outer, n, inner);
    }
  });
}

void topk_cuda(const Tensor& x, const Tensor& values, const Tensor& indices, int64_t k) {
  on_float(x.dtype(), [&]<class T> {
    launch("topk", topk_rows<T>, grid_of(x.rows(), block_size / 32), block_size, 0, elements<T>(x), elements<T>(values),
           elements<int64_t>(indices), x.rows(), x.cols(), k);
  });
}

// index and y hold `k` places of the axis; y[o] = x[index[o]].
void pick_cuda(const Tensor& x, const Tensor& index, const Tensor& y, int64_t n, int64_t k, int64_t inner) {
  on_float(x.dtype(), [&]<class T> {
    launch("pick", pick_elements<T>, grid_of(y.numel(), block_size), block_size, 0, elements<T>(x),
           elements<int64_t>(index), elements<T>(y), y.numel(), n, k, inner);
  });
}

void place_cuda(const Tensor& dy, const Tensor& index, const Tensor& dx, int64_t n, int64_t k, int64_t inner) {
  on_float(dy.dtype(), [&]<class T> {
    launch("place", place_elements<T>, grid_of(dy.numel(), block_size), block_size, 0, elements<T>(dy),
           elements<int64_t>(index), elements<T>(dx), dy.numel(), n, k, inner);
  });
}

}  // namespace weft
