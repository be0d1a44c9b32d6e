// max_pool2d           y = max over the window                 dx = the sum of dy over the windows whose maximum is at
// this pixel global_average_pool  y = sum over the pixels / (H W)         dx = dy / (H W) Saved: the place of each
// maximum in its window, one byte; nothing for the average.
#include "kernels/pool.h"

#include <limits>

#include "kernels/device/parallel.h"
#include "kernels/device/windows.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

// kernels/pool.cu
void max_pool_forward_cuda(const Tensor& x, const Tensor& y, const Tensor& places, const Windows& s);
void max_pool_backward_cuda(const Tensor& dy, const Tensor& places, const Tensor& dx, const Windows& s);
void average_forward_cuda(const Tensor& x, const Tensor& y, int64_t images, int64_t pixels, int64_t channels);
void average_backward_cuda(const Tensor& dy, const Tensor& dx, int64_t pixels, int64_t channels);

namespace {

// One thread takes whole rows of y. Along the channels, so that all is contiguous.
template <class T> void max_forward(const T* x, T* y, uint8_t* places, const Windows& s) {
  using A = accumulator_t<T>;
  parallel_for(s.n * s.oh, std::max<int64_t>(1, elements_grain / std::max<int64_t>(1, s.ow * s.c * s.kernel)),
               [&](int64_t begin, int64_t end) {
                 std::vector<A> top(s.c);
                 std::vector<int32_t> place(s.c);
                 for (int64_t row = begin; row < end; ++row) {
                   for (int64_t ox = 0; ox < s.ow; ++ox) {
                     const int64_t top_y = row % s.oh * s.stride - s.padding, left = ox * s.stride - s.padding;
                     const int64_t p0 = std::max<int64_t>(0, -top_y), p1 = std::min(s.kernel, s.h - top_y);
                     const int64_t q0 = std::max<int64_t>(0, -left), q1 = std::min(s.kernel, s.w - left);
                     bool first = true;
                     for (int64_t p = p0; p < p1; ++p) {
                       for (int64_t q = q0; q < q1; ++q) {
                         const T* in = x + ((row / s.oh * s.h + top_y + p) * s.w + left + q) * s.c;
                         const int32_t here = static_cast<int32_t>(p * s.kernel + q);
                         A* best = top.data();
                         int32_t* at = place.data();
                         if (first) {
#pragma omp simd
                           for (int64_t c = 0; c < s.c; ++c) best[c] = in[c], at[c] = here;
                         } else {
#pragma omp simd
                           for (int64_t c = 0; c < s.c; ++c) {
                             const A v = in[c];
                             const bool keep = v <= best[c] || best[c] != best[c];  // false for a NaN in v alone
                             best[c] = keep ? best[c] : v;
                             at[c] = keep ? at[c] : here;
                           }
                         }
                         first = false;
                       }
                     }
                     const int64_t out = (row * s.ow + ox) * s.c;
#pragma omp simd
                     for (int64_t c = 0; c < s.c; ++c) y[out + c] = T(top[c]);
                     if (!places) continue;
#pragma omp simd
                     for (int64_t c = 0; c < s.c; ++c) places[out + c] = static_cast<uint8_t>(place[c]);
                   }
                 }
               });
}

// Gathers instead of scattering: every pixel of x asks the windows over it, so threads share nothing.
template <class T> void max_backward(const T* dy, const uint8_t* places, T* dx, const Windows& s) {
  using A = accumulator_t<T>;
  parallel_for(s.n * s.h, std::max<int64_t>(1, elements_grain / std::max<int64_t>(1, s.w * s.c)),
               [&](int64_t begin, int64_t end) {
                 std::vector<A> sums(s.c);
                 for (int64_t row = begin; row < end; ++row) {
                   const int64_t iy = row % s.h + s.padding, image = row / s.h * s.oh;
                   const int64_t oy0 = iy < s.kernel ? 0 : (iy - s.kernel) / s.stride + 1,
                                 oy1 = std::min(s.oh - 1, iy / s.stride);
                   for (int64_t column = 0; column < s.w; ++column) {
                     const int64_t ix = column + s.padding;
                     const int64_t ox0 = ix < s.kernel ? 0 : (ix - s.kernel) / s.stride + 1,
                                   ox1 = std::min(s.ow - 1, ix / s.stride);
                     A* sum = sums.data();
                     std::fill(sums.begin(), sums.end(), A{0});
                     for (int64_t oy = oy0; oy <= oy1; ++oy) {
                       for (int64_t ox = ox0; ox <= ox1; ++ox) {
                         const int64_t at = ((image + oy) * s.ow + ox) * s.c;
                         const int32_t here =
                             static_cast<int32_t>((iy - oy * s.stride) * s.kernel + ix - ox * s.stride);
                         const T* g = dy + at;
                         const uint8_t* place = places + at;
#pragma omp simd
                         for (int64_t c = 0; c < s.c; ++c) sum[c] += place[c] == here ? static_cast<A>(g[c]) : A{0};
                       }
                     }
                     T* out = dx + (row * s.w + column) * s.c;
#pragma omp simd
                     for (int64_t c = 0; c < s.c; ++c) out[c] = T(sum[c]);
                   }
                 }
               });
}

template <class T> void average_forward(const T* x, T* y, int64_t images, int64_t pixels, int64_t channels) {
  using A = accumulator_t<T>;
  parallel_for(images, std::max<int64_t>(1, elements_grain / std::max<int64_t>(1, pixels * channels)),
               [=](int64_t begin, int64_t end) {
                 std::vector<A> sums(channels);
                 for (int64_t n = begin; n < end; ++n) {
                   A* sum = sums.data();
                   std::fill(sums.begin(), sums.end(), A{0});
                   for (int64_t p = 0; p < pixels; ++p) {
                     const T* in = x + (n * pixels + p) * channels;
#pragma omp simd
                     for (int64_t c = 0; c < channels; ++c) sum[c] += static_cast<A>(in[c]);
                   }
                   const A scale = A{1} / static_cast<A>(pixels);
#pragma omp simd
                   for (int64_t c = 0; c < channels; ++c) y[n * channels + c] = T(sum[c] * scale);
                 }
               });
}

template <class T> void average_backward(const T* dy, T* dx, int64_t images, int64_t pixels, int64_t channels) {
  using A = accumulator_t<T>;
  parallel_for(images * pixels, std::max<int64_t>(1, elements_grain / std::max<int64_t>(1, channels)),
               [=](int64_t begin, int64_t end) {
                 const A scale = A{1} / static_cast<A>(pixels);
                 for (int64_t row = begin; row < end; ++row) {
                   const T* g = dy + row / pixels * channels;
                   T* out = dx + row * channels;
#pragma omp simd
                   for (int64_t c = 0; c < channels; ++c) out[c] = T(static_cast<A>(g[c]) * scale);
                 }
               });
}

}  // namespace

Tensor max_pool2d(const Tensor& x, int kernel, int stride, int padding) {
  check(x.defined() && x.rank() == 4, "[max_pool2d] x must have 4 axes but has shape {}", x.shape());
  check(kernel >= 1 && kernel <= 15 && stride >= 1 && padding >= 0 && padding <= kernel / 2,
        "[max_pool2d] the kernel must be 1 to 15, the stride at least 1 and the padding 0 to kernel / 2, but they are "
        "{}, {} and {}",
        kernel, stride, padding);
  Windows s{x.dim(0), x.dim(1), x.dim(2), x.dim(3), 0, 0, kernel, stride, padding};
  check(s.h + 2 * padding >= kernel && s.w + 2 * padding >= kernel,
        "[max_pool2d] the padded image must be as large as the kernel {} but x is {}", kernel, x.shape());
  s.oh = (s.h + 2 * padding - kernel) / stride + 1, s.ow = (s.w + 2 * padding - kernel) / stride + 1;
  const Shape y_shape{s.n, s.oh, s.ow, s.c};
  Tensor y = Tensor::empty(y_shape, x.dtype(), x.device());
  const Tensor places = x.needs_grad() ? Tensor::empty(y_shape, DType::u8, x.device()) : Tensor();
  on_device("max_pool2d", x,
            [&]<class T> { max_forward(x.data<T>(), y.data<T>(), places ? places.data<uint8_t>() : nullptr, s); },
            [&] { max_pool_forward_cuda(x, y, places, s); });
  return record("max_pool2d", y, {x}, [s, places, x_shape = x.shape()](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::empty(x_shape, dy.dtype(), dy.device());
    on_device("max_pool2d", dy, [&]<class T> { max_backward(dy.data<T>(), places.data<uint8_t>(), dx.data<T>(), s); },
              [&] { max_pool_backward_cuda(dy, places, dx, s); });
    return {dx};
  });
}

Tensor global_average_pool(const Tensor& x) {
  check(x.defined() && x.rank() == 4 && x.dim(1) > 0 && x.dim(2) > 0,
        "[global_average_pool] x must be [N, H, W, C] with at least one pixel but has shape {}", x.shape());
  const int64_t images = x.dim(0), pixels = x.dim(1) * x.dim(2), channels = x.dim(3);
  Tensor y = Tensor::empty({images, channels}, x.dtype(), x.device());
  on_device("global_average_pool", x,
            [&]<class T> { average_forward(x.data<T>(), y.data<T>(), images, pixels, channels); },
            [&] { average_forward_cuda(x, y, images, pixels, channels); });
  return record("global_average_pool", y, {x}, [=, x_shape = x.shape()](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::empty(x_shape, dy.dtype(), dy.device());
    on_device("global_average_pool", dy,
              [&]<class T> { average_backward(dy.data<T>(), dx.data<T>(), images, pixels, channels); },
              [&] { average_backward_cuda(dy, dx, pixels, channels); });
    return {dx};
  });
}

}  // namespace weft
