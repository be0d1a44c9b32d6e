// Pooling of NHWC images: see pool.cc.
// Thread mapping: one thread an element, channels innermost, so that neighbours read neighbours and nobody shares a
// result. Napkin maths: max_pool2d reads every pixel of a window, 9 of a 3x3 one, of which all but stride^2 come from
// the cache; 4 bytes read and 4 / stride^2 written an element of x in f32. The average reads x once.
#include "kernels/device/reduce.cuh"
#include "kernels/device/windows.h"
#include "tensor/cuda_elements.h"

namespace weft {

namespace {

constexpr int block_size = 256;

__device__ int64_t thread_index() { return static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x; }

// One thread an element of y. `places` may be null.
template <class T> __global__ void max_forward(const T* x, T* y, uint8_t* places, Windows s) {
  const int64_t i = thread_index();
  if (i >= s.n * s.oh * s.ow * s.c) return;
  const int64_t c = i % s.c, ox = i / s.c % s.ow, oy = i / (s.c * s.ow) % s.oh, image = i / (s.c * s.ow * s.oh);
  const int64_t top = oy * s.stride - s.padding, left = ox * s.stride - s.padding;
  float best = 0;
  int place = -1;
  for (int64_t p = max(int64_t{0}, -top); p < min(s.kernel, s.h - top); ++p) {
    for (int64_t q = max(int64_t{0}, -left); q < min(s.kernel, s.w - left); ++q) {
      const float v = to_float(x[((image * s.h + top + p) * s.w + left + q) * s.c + c]);
      // The first of equals stays, and so does a NaN.
      if (place >= 0 && (v <= best || isnan(best))) continue;
      best = v;
      place = static_cast<int>(p * s.kernel + q);
    }
  }
  y[i] = from_float<T>(best);
  if (places) places[i] = static_cast<uint8_t>(place);
}

// One thread an element of dx: it asks the windows over it.
template <class T> __global__ void max_backward(const T* dy, const uint8_t* places, T* dx, Windows s) {
  const int64_t i = thread_index();
  if (i >= s.n * s.h * s.w * s.c) return;
  const int64_t c = i % s.c, ix = i / s.c % s.w + s.padding, iy = i / (s.c * s.w) % s.h + s.padding,
                image = i / (s.c * s.w * s.h);
  const int64_t oy0 = iy < s.kernel ? 0 : (iy - s.kernel) / s.stride + 1, oy1 = min(s.oh - 1, iy / s.stride);
  const int64_t ox0 = ix < s.kernel ? 0 : (ix - s.kernel) / s.stride + 1, ox1 = min(s.ow - 1, ix / s.stride);
  float sum = 0;
  for (int64_t oy = oy0; oy <= oy1; ++oy) {
    for (int64_t ox = ox0; ox <= ox1; ++ox) {
      const int64_t at = ((image * s.oh + oy) * s.ow + ox) * s.c + c;
      if (places[at] == (iy - oy * s.stride) * s.kernel + ix - ox * s.stride) sum += to_float(dy[at]);
    }
  }
  dx[i] = from_float<T>(sum);
}

// One thread an element of dx.
template <class T>
__global__ void average_backward(const T* dy, T* dx, int64_t count, int64_t pixels, int64_t channels, float scale) {
  const int64_t i = thread_index();
  if (i < count) dx[i] = from_float<T>(to_float(dy[i / (pixels * channels) * channels + i % channels]) * scale);
}

}  // namespace

void max_pool_forward_cuda(const Tensor& x, const Tensor& y, const Tensor& places, const Windows& s) {
  on_float(x.dtype(), [&]<class T> {
    launch("max_pool_forward", max_forward<T>, grid_of(y.numel(), block_size), block_size, 0, elements<T>(x),
           elements<T>(y), elements<uint8_t>(places), s);
  });
}

void max_pool_backward_cuda(const Tensor& dy, const Tensor& places, const Tensor& dx, const Windows& s) {
  on_float(dy.dtype(), [&]<class T> {
    launch("max_pool_backward", max_backward<T>, grid_of(dx.numel(), block_size), block_size, 0, elements<T>(dy),
           elements<uint8_t>(places), elements<T>(dx), s);
  });
}

void average_forward_cuda(const Tensor& x, const Tensor& y, int64_t images, int64_t pixels, int64_t channels) {
  AxisSums axes;
  if (images != 1) axes.kept.push_back(images, pixels * channels);
  axes.summed.push_back(pixels, channels);
  if (channels != 1) axes.kept.push_back(channels, 1);
  sum_axes_cuda(x, y, axes, 1 / static_cast<double>(pixels));
}

void average_backward_cuda(const Tensor& dy, const Tensor& dx, int64_t pixels, int64_t channels) {
  on_float(dy.dtype(), [&]<class T> {
    launch("average_backward", average_backward<T>, grid_of(dx.numel(), block_size), block_size, 0, elements<T>(dy),
           elements<T>(dx), dx.numel(), pixels, channels, 1 / static_cast<float>(pixels));
  });
}

}  // namespace weft
