// One thread an element (or a few), neighbours next to each other, so that a warp's accesses are whole lines of memory.
#include "tensor/cuda_elements.h"

#include <cuda_fp16.h>

#include <algorithm>
#include <cstring>

#include "tensor/dispatch.h"
#include "tensor/launch.cuh"

namespace weft {

namespace {

constexpr int block_size = 256;

__device__ int64_t thread_index() { return static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x; }

// One thread an element; written once.
template <class Word> __global__ void fill(Word* x, Word value, int64_t n) {
  const int64_t i = thread_index();
  if (i < n) x[i] = value;
}

__device__ double load_number(const void* x, DType dtype, int64_t i) {
  if (dtype == DType::f32) return static_cast<const float*>(x)[i];
  if (dtype == DType::bf16) return __bfloat162float(static_cast<const __nv_bfloat16*>(x)[i]);
  if (dtype == DType::f16) return __half2float(static_cast<const __half*>(x)[i]);
  return static_cast<const double*>(x)[i];
}

__device__ int64_t load_integer(const void* x, DType dtype, int64_t i) {
  if (dtype == DType::i64) return static_cast<const int64_t*>(x)[i];
  if (dtype == DType::i32) return static_cast<const int32_t*>(x)[i];
  return static_cast<const uint8_t*>(x)[i];
}

template <class Number> __device__ void store(void* y, DType dtype, int64_t i, Number v) {
  if (dtype == DType::f32) static_cast<float*>(y)[i] = static_cast<float>(v);
  if (dtype == DType::bf16) static_cast<__nv_bfloat16*>(y)[i] = __float2bfloat16_rn(static_cast<float>(v));
  if (dtype == DType::f16) static_cast<__half*>(y)[i] = __float2half_rn(static_cast<float>(v));
  if (dtype == DType::f64) static_cast<double*>(y)[i] = static_cast<double>(v);
  if (dtype == DType::i64) static_cast<int64_t*>(y)[i] = static_cast<int64_t>(v);
  if (dtype == DType::i32) static_cast<int32_t*>(y)[i] = static_cast<int32_t>(v);
  if (dtype == DType::u8) static_cast<uint8_t*>(y)[i] = static_cast<uint8_t>(v);
  if (dtype == DType::boolean) static_cast<uint8_t*>(y)[i] = v != 0;
}

// One thread an element; read once, written once. The dtypes are the same for all threads, so no branch diverges.
__global__ void convert_elements(const void* x, DType from, void* y, DType to, int64_t n) {
  const int64_t i = thread_index();
  if (i >= n) return;
  if (from <= DType::f64) {
    store(y, to, i, load_number(x, from, i));
  } else {
    store(y, to, i, load_integer(x, from, i));
  }
}

__device__ float number(float x) { return x; }
__device__ float number(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ void set(float& x, float v) { x = v; }
__device__ void set(__nv_bfloat16& x, float v) { x = __float2bfloat16_rn(v); }

// One thread an element; two reads and one write.
template <class A, class B> __global__ void accumulate_elements(A* a, const B* b, int64_t n) {
  const int64_t i = thread_index();
  if (i < n) set(a[i], number(a[i]) + number(b[i]));
}

// Where element `index` of the axes lies. One axis, the usual case, takes no division.
__device__ int64_t offset_of(const AxisSums::Axes& axes, int64_t index) {
  int64_t offset = 0;
#pragma unroll
  for (int k = Shape::max_rank - 1; k > 0; --k) {
    if (k >= axes.rank) continue;
    offset += index % axes.extent[k] * axes.stride[k];
    index /= axes.extent[k];
  }
  return axes.rank > 0 ? offset + index * axes.stride[0] : 0;
}

// The innermost axis is summed: one warp a sum, or a piece of one; lanes stride over the terms, neighbours in memory.
// Read once.
template <class T, class Out>
__global__ void sum_rows(const T* x, Out* y, AxisSums axes, int64_t piece_terms, int64_t pieces, float scale) {
  const int64_t warp = thread_index() / 32, lane = threadIdx.x % 32;
  if (warp >= axes.kept.count * pieces) return;
  const int64_t piece = warp / axes.kept.count, out = warp % axes.kept.count;
  const T* base = x + offset_of(axes.kept, out);
  const int64_t end = min(axes.summed.count, (piece + 1) * piece_terms);
  float sum = 0;
  for (int64_t t = piece * piece_terms + lane; t < end; t += 32) sum += number(base[offset_of(axes.summed, t)]);
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (lane == 0) set(y[piece * axes.kept.count + out], sum * scale);
}

// The innermost axis is kept: a block of 32 x 8 threads takes 32 neighbouring sums; its 8 rows of threads share the
// terms of one piece and add up in shared memory, in order. Read once.
template <class T, class Out>
__global__ void sum_columns(const T* x, Out* y, AxisSums axes, int64_t piece_terms, float scale) {
  __shared__ float sums[8][32];
  const int64_t out = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x, piece = blockIdx.y;
  const int64_t end = min(axes.summed.count, (piece + 1) * piece_terms);
  float sum = 0;
  if (out < axes.kept.count) {
    const T* base = x + offset_of(axes.kept, out);
    for (int64_t t = piece * piece_terms + threadIdx.y; t < end; t += 8) sum += number(base[offset_of(axes.summed, t)]);
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || out >= axes.kept.count) return;
  for (int k = 1; k < 8; ++k) sum += sums[k][threadIdx.x];
  set(y[piece * axes.kept.count + out], sum * scale);
}

bool inner_axis_summed(const AxisSums& a) {
  const auto inner = [](const AxisSums::Axes& axes) { return axes.rank > 0 ? axes.stride[axes.rank - 1] : INT64_MAX; };
  return inner(a.summed) < inner(a.kept);
}

template <class T, class Out> void sum_pass(const T* x, Out* y, const AxisSums& axes, int64_t pieces, float scale) {
  const int64_t piece_terms = ceil_div(axes.summed.count, pieces);
  if (inner_axis_summed(axes)) {
    launch("sum_rows", sum_rows<T, Out>, grid_of(axes.kept.count * pieces, block_size / 32), block_size, 0, x, y, axes,
           piece_terms, pieces, scale);
  } else {
    dim3 grid = grid_of(axes.kept.count, 32);
    grid.y = static_cast<unsigned>(pieces);
    launch("sum_columns", sum_columns<T, Out>, grid, dim3(32, 8), 0, x, y, axes, piece_terms, scale);
  }
}

}  // namespace

void fill_cuda(const Tensor& x, double value) {
  const int64_t n = x.numel();
  uint64_t word = 0;
  on_any_dtype(x.dtype(), [&]<class T> {
    const T converted = convert<T>(value);
    memcpy(&word, &converted, sizeof(T));
  });
  if (word == 0) return cuda::zero(x.raw(), x.nbytes());
  const auto start = [&]<class Word>(Word w) {
    launch("fill", fill<Word>, grid_of(n, block_size), block_size, 0, elements<Word>(x), w, n);
  };
  switch (size_of(x.dtype())) {
    case 1: return start(static_cast<uint8_t>(word));
    case 2: return start(static_cast<uint16_t>(word));
    case 4: return start(static_cast<uint32_t>(word));
    default: return start(word);
  }
}

void convert_cuda(const Tensor& from, const Tensor& to) {
  launch("convert", convert_elements, grid_of(to.numel(), block_size), block_size, 0, from.raw(), from.dtype(),
         to.raw(), to.dtype(), to.numel());
}

void accumulate_cuda(const Tensor& into, const Tensor& g) {
  on_float(into.dtype(), [&]<class A> {
    on_float(g.dtype(), [&]<class B> {
      launch("accumulate", accumulate_elements<A, B>, grid_of(into.numel(), block_size), block_size, 0,
             elements<A>(into), elements<B>(g), into.numel());
    });
  });
}

void sum_axes_cuda(const Tensor& x, const Tensor& y, const AxisSums& axes, double scale) {
  if (axes.kept.count == 0) return;
  // Enough pieces to fill a GPU where few sums have many terms: about 2^17 threads, 64 terms each at least.
  const int64_t terms = axes.summed.count, threads = axes.kept.count * (inner_axis_summed(axes) ? 32 : 8);
  const int64_t pieces = std::clamp<int64_t>(std::min((1 << 17) / threads, terms / 2048), 1, 512);
  on_float(x.dtype(), [&]<class T> {
    if (pieces == 1) return sum_pass(elements<T>(x), elements<T>(y), axes, 1, static_cast<float>(scale));
    const Tensor partial = Tensor::empty({pieces, axes.kept.count}, DType::f32, Device::cuda);
    sum_pass(elements<T>(x), elements<float>(partial), axes, pieces, 1.0f);
    AxisSums rest;
    rest.kept.push_back(axes.kept.count, 1);
    rest.summed.push_back(pieces, axes.kept.count);
    sum_pass(elements<float>(partial), elements<T>(y), rest, 1, static_cast<float>(scale));
  });
}

void sum_rows_cuda(const Tensor& x, const Tensor& y) {
  AxisSums axes;
  axes.kept.push_back(x.cols(), 1);
  axes.summed.push_back(x.rows(), x.cols());
  sum_axes_cuda(x, y, axes);
}

}  // namespace weft
