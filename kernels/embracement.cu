// Every feature of a row from one modality, or their weighted mean: see embracement.cc.
// Thread mapping: one thread an element of y, or in a backward of dx; neighbours along the features.
// Napkin maths: sampled: 4 bytes read and 4 written an element of y in f32, and 4 for what was drawn; the backward
// writes K times as much. Expected: K reads and one write, and the other way round.
#include "kernels/device/philox.cuh"

namespace weft {

namespace {

constexpr int block_size = 256;

__device__ int64_t thread_index() { return static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x; }

// One thread a draw: number b C + c of the stream. Sums in f32, added in the order of k, so that the cpu draws the
// same.
__global__ void draw_elements(const float* weights, int32_t* drawn, device::Draws stream, int64_t B, int64_t K,
                              int64_t C) {
  const int64_t i = thread_index();
  if (i >= B * C) return;
  const float* w = weights + i / C * K;
  float sum = 0;
  for (int64_t k = 0; k < K; ++k) sum += w[k];
  int64_t last = K - 1;
  while (last > 0 && !(w[last] > 0)) --last;
  const float at =
      device::uniform_of(device::word_of(device::philox_block(stream, i / 4), static_cast<int>(i % 4))) * sum;
  int32_t chosen = 0;
  float below = 0;
  for (int64_t k = 0; k < last; ++k) {
    below += w[k];
    chosen += at >= below;
  }
  drawn[i] = chosen;
}

template <class T, class Index>
__global__ void choose_forward(const T* docked, const Index* drawn, T* y, int64_t count, int64_t K, int64_t C) {
  const int64_t i = thread_index();
  if (i < count) y[i] = docked[(i / C * K + drawn[i]) * C + i % C];
}

template <class T, class Index>
__global__ void choose_backward(const T* dy, const Index* drawn, T* dx, int64_t count, int64_t K, int64_t C) {
  const int64_t i = thread_index();
  if (i >= count) return;
  const int64_t from = i / (K * C) * C + i % C;
  dx[i] = drawn[from] == i / C % K ? dy[from] : from_float<T>(0);
}

template <class T>
__global__ void expect_forward(const T* docked, const float* p, T* y, int64_t count, int64_t K, int64_t C) {
  const int64_t i = thread_index();
  if (i >= count) return;
  const int64_t b = i / C;
  float sum = 0;
  for (int64_t k = 0; k < K; ++k) sum += p[b * K + k] * to_float(docked[(b * K + k) * C + i % C]);
  y[i] = from_float<T>(sum);
}

template <class T>
__global__ void expect_backward(const T* dy, const float* p, T* dx, int64_t count, int64_t K, int64_t C) {
  const int64_t i = thread_index();
  if (i < count) dx[i] = from_float<T>(p[i / C] * to_float(dy[i / (K * C) * C + i % C]));
}

template <class F> void on_index(const Tensor& drawn, F&& f) {
  if (drawn.dtype() == DType::i32) {
    f(elements<int32_t>(drawn));
  } else {
    f(elements<int64_t>(drawn));
  }
}

}  // namespace

// weights [B, K] f32 -> drawn [B, C] i32.
void draw_cuda(const Tensor& weights, const Tensor& drawn, const PhiloxStream& stream) {
  launch("embracement_draw", draw_elements, grid_of(drawn.numel(), block_size), block_size, 0, elements<float>(weights),
         elements<int32_t>(drawn), stream, drawn.dim(0), weights.dim(1), drawn.dim(1));
}

// drawn [B, C] i32 or i64.
void choose_forward_cuda(const Tensor& docked, const Tensor& drawn, const Tensor& y) {
  on_float(docked.dtype(), [&]<class T> {
    on_index(drawn, [&]<class Index>(const Index* index) {
      launch("embracement_forward", choose_forward<T, Index>, grid_of(y.numel(), block_size), block_size, 0,
             elements<T>(docked), index, elements<T>(y), y.numel(), docked.dim(1), docked.dim(2));
    });
  });
}

void choose_backward_cuda(const Tensor& dy, const Tensor& drawn, const Tensor& dx) {
  on_float(dy.dtype(), [&]<class T> {
    on_index(drawn, [&]<class Index>(const Index* index) {
      launch("embracement_backward", choose_backward<T, Index>, grid_of(dx.numel(), block_size), block_size, 0,
             elements<T>(dy), index, elements<T>(dx), dx.numel(), dx.dim(1), dx.dim(2));
    });
  });
}

void expect_forward_cuda(const Tensor& docked, const Tensor& p, const Tensor& y) {
  on_float(docked.dtype(), [&]<class T> {
    launch("embracement_expected", expect_forward<T>, grid_of(y.numel(), block_size), block_size, 0,
           elements<T>(docked), elements<float>(p), elements<T>(y), y.numel(), docked.dim(1), docked.dim(2));
  });
}

void expect_backward_cuda(const Tensor& dy, const Tensor& p, const Tensor& dx) {
  on_float(dy.dtype(), [&]<class T> {
    launch("embracement_expected_backward", expect_backward<T>, grid_of(dx.numel(), block_size), block_size, 0,
           elements<T>(dy), elements<float>(p), elements<T>(dx), dx.numel(), dx.dim(1), dx.dim(2));
  });
}

}  // namespace weft
