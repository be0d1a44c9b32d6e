// y = xhat weight + bias over every sample's groups of channels: see group_norm.cc for the formulas,
// kernels/device/channels.cuh for the thread mappings. Napkin maths, f32: forward reads x twice and writes y, 12 bytes
// an element; backward reads x and dy twice and writes dx, 20 bytes. A sample that fits the second-level cache (50 MB
// on an H100) is read from memory once.
#include "kernels/device/activation_math.cuh"
#include "kernels/device/channels.cuh"

namespace weft {

namespace {

constexpr int block_size = 128;

// One thread a group of a sample puts its channels and pieces together, in order and in f64. affine [3, N, C] gets
// centre, scale and shift; of_group [2, N, groups] what rounding the centre lost of the mean, and 1 / deviation.
__global__ void finish_statistics(ChannelMoments m, const float* weight, const float* bias, float* affine,
                                  float* of_group, ChannelRows s, int64_t groups, double eps) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x, C = s.channels, width = C / groups,
                all = s.samples * C;
  if (i >= s.samples * groups) return;
  const int64_t n = i / groups, first = i % groups * width;
  Moments<double> moments;
  for (int64_t p = 0; p < s.pieces; ++p) {
    const auto rows = static_cast<double>(s.piece_begin(p + 1) - s.piece_begin(p));
    for (int64_t c = first; c < first + width; ++c) {
      const int64_t at = (n * s.pieces + p) * C + c;
      moments.add(rows, static_cast<double>(m.origins[n * C + c]) + m.means[at], m.squares[at]);
    }
  }
  const double rstd = 1 / sqrt(moments.squares / static_cast<double>(s.rows * width) + eps);
  const auto centre = static_cast<float>(moments.mean);
  const double lost = moments.mean - centre;
  of_group[i] = static_cast<float>(lost);
  of_group[s.samples * groups + i] = static_cast<float>(rstd);
  for (int64_t c = first; c < first + width; ++c) {
    affine[n * C + c] = centre;
    affine[all + n * C + c] = static_cast<float>(rstd * weight[c]);
    affine[2 * all + n * C + c] = static_cast<float>(bias[c] - lost * rstd * weight[c]);
  }
}

// One thread a group of a sample. of_channel [2, N, C] gets the sums of dy and of dy xhat; coefficients [2, N, C] make
// dx = scale dy - a - (x - centre) b.
__global__ void finish_sums(const float* sums, const float* weight, const float* of_group, float* of_channel,
                            float* coefficients, ChannelRows s, int64_t groups) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x, C = s.channels, width = C / groups,
                all = s.samples * C;
  if (i >= s.samples * groups) return;
  const int64_t n = i / groups, first = i % groups * width;
  const double lost = of_group[i], rstd = of_group[s.samples * groups + i], size = static_cast<double>(s.rows * width);
  double mean_h = 0, mean_hx = 0;
  for (int64_t c = first; c < first + width; ++c) {
    double g = 0, gx = 0;
    for (int64_t p = 0; p < s.pieces; ++p) {
      const int64_t at = (n * s.pieces + p) * C + c;
      g += sums[at], gx += sums[s.pieces * all + at];
    }
    gx = (gx - lost * g) * rstd;
    of_channel[n * C + c] = static_cast<float>(g);
    of_channel[all + n * C + c] = static_cast<float>(gx);
    mean_h += weight[c] * g / size;
    mean_hx += weight[c] * gx / size;
  }
  const double slope = rstd * rstd * mean_hx;
  for (int64_t c = first; c < first + width; ++c) {
    coefficients[n * C + c] = static_cast<float>(rstd * mean_h - lost * slope);
    coefficients[all + n * C + c] = static_cast<float>(slope);
  }
}

// One thread a channel: sums over the samples, in order. dweight and dbias may be null.
__global__ void sum_samples(const float* of_channel, float* dweight, float* dbias, int64_t samples, int64_t channels) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x;
  if (c >= channels) return;
  double g = 0, gx = 0;
  for (int64_t n = 0; n < samples; ++n)
    g += of_channel[n * channels + c], gx += of_channel[(samples + n) * channels + c];
  if (dweight) dweight[c] = static_cast<float>(gx);
  if (dbias) dbias[c] = static_cast<float>(g);
}

// One thread a sample's channel: affine's scale and shift [count] become those of y (1 + scale) + shift.
template <class T>
__global__ void modulate(float* affine, const T* scale, const T* shift, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x;
  if (i >= count) return;
  const float by = 1 + static_cast<float>(scale[i]);
  affine[count + i] *= by;
  affine[2 * count + i] = affine[2 * count + i] * by + static_cast<float>(shift[i]);
}

// y = silu((x - centre) scale + shift)
template <class T, int V>
__global__ void affine_silu(const T* x, T* y, const float* affine, ChannelRows s, int64_t count) {
  const ChannelPlace at(s, V);
  if (at.i >= count) return;
  const int64_t all = s.samples * s.channels;
  const auto centre = Pack<float, V>::load(affine + at.c), scale = Pack<float, V>::load(affine + all + at.c);
  const auto shift = Pack<float, V>::load(affine + 2 * all + at.c);
  const auto px = Pack<T, V>::load(x + at.i);
  Pack<T, V> out;
#pragma unroll
  for (int k = 0; k < V; ++k) out.set(k, device::Silu::value((px[k] - centre[k]) * scale[k] + shift[k]));
  out.store(y + at.i);
}

ChannelRows rows_of(const Tensor& x) { return ChannelRows(x.dim(0), x.shape().product(1, x.rank() - 1), x.cols()); }

}  // namespace

namespace {

// Into affine [3, N, C] and of_group [2, N, groups], f32.
void find_statistics(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, const Tensor& affine,
                     const Tensor& of_group, double eps) {
  const ChannelRows s = rows_of(x);
  const Tensor memory = ChannelMoments::memory(s);
  const ChannelMoments moments(memory, s);
  on_float(x.dtype(), [&]<class T> {
    const T* px = elements<T>(x);
    launch("group_norm_moments", channel_moments<T>, channel_grid(s), dim3(32, channel_warps), 0, px, moments, s);
    launch("group_norm_statistics", finish_statistics, grid_of(s.samples * groups, block_size), block_size, 0, moments,
           elements<float>(weight), elements<float>(bias), elements<float>(affine), elements<float>(of_group), s,
           groups, eps);
  });
}

}  // namespace

// affine [3, N, C] and of_group [2, N, groups], f32, are written for the backward.
void group_norm_forward_cuda(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, const Tensor& y,
                             const Tensor& affine, const Tensor& of_group, double eps) {
  const ChannelRows s = rows_of(x);
  if (s.elements() == 0) return;
  find_statistics(x, groups, weight, bias, affine, of_group, eps);
  on_float(x.dtype(), [&]<class T> {
    const T* px = elements<T>(x);
    on_width_beside_f32<T>(
        s.channels,
        [&]<int V> {
          launch("group_norm_forward", channel_affine<T, V>, grid_of(s.elements(), block_size * V), block_size, 0, px,
                 static_cast<const T*>(nullptr), elements<T>(y), elements<float>(affine), s, s.elements(), false);
        },
        px, elements<T>(y));
  });
}

// scale and shift may be undefined.
void group_norm_silu_cuda(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias,
                          const Tensor& scale, const Tensor& shift, const Tensor& y, double eps) {
  const ChannelRows s = rows_of(x);
  if (s.elements() == 0) return;
  const int64_t count = s.samples * s.channels;
  const Tensor affine = Tensor::empty({3, count}, DType::f32, Device::cuda),
               of_group = Tensor::empty({2, s.samples * groups}, DType::f32, Device::cuda);
  find_statistics(x, groups, weight, bias, affine, of_group, eps);
  on_float(x.dtype(), [&]<class T> {
    const T* px = elements<T>(x);
    if (scale.defined()) {
      launch("group_norm_modulate", modulate<T>, grid_of(count, block_size), block_size, 0, elements<float>(affine),
             elements<T>(scale), elements<T>(shift), count);
    }
    on_width_beside_f32<T>(
        s.channels,
        [&]<int V> {
          launch("group_norm_silu", affine_silu<T, V>, grid_of(s.elements(), block_size * V), block_size, 0, px,
                 elements<T>(y), elements<float>(affine), s, s.elements());
        },
        px, elements<T>(y));
  });
}

// dx, dweight and dbias may be undefined.
void group_norm_backward_cuda(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& affine,
                              const Tensor& of_group, const Tensor& dy, const Tensor& dx, const Tensor& dweight,
                              const Tensor& dbias) {
  const ChannelRows s = rows_of(x);
  const Tensor of_channel = Tensor::zeros({2, s.samples * s.channels}, DType::f32, Device::cuda),
               coefficients = empty_like(of_channel);
  on_float(x.dtype(), [&]<class T> {
    const T *px = elements<T>(x), *pg = elements<T>(dy);
    if (s.elements() > 0) {
      const Tensor sums = Tensor::empty({2, s.samples * s.pieces * s.channels}, DType::f32, Device::cuda);
      launch("group_norm_sums", channel_sums<T, Mask::none>, channel_grid(s), dim3(32, channel_warps), 0, px, pg,
             static_cast<const T*>(nullptr), elements<float>(affine), elements<float>(sums), s);
      launch("group_norm_coefficients", finish_sums, grid_of(s.samples * groups, block_size), block_size, 0,
             elements<float>(sums), elements<float>(weight), elements<float>(of_group), elements<float>(of_channel),
             elements<float>(coefficients), s, groups);
    }
    launch("group_norm_parameters", sum_samples, grid_of(s.channels, block_size), block_size, 0,
           elements<float>(of_channel), elements<float>(dweight), elements<float>(dbias), s.samples, s.channels);
    if (!dx.defined()) return;
    on_width_beside_f32<T>(
        s.channels,
        [&]<int V> {
          launch("group_norm_backward", channel_backward<T, V, Mask::none>, grid_of(s.elements(), block_size * V),
                 block_size, 0, px, pg, static_cast<const T*>(nullptr), elements<float>(affine),
                 elements<float>(coefficients), elements<T>(dx), static_cast<T*>(nullptr), s, s.elements());
        },
        px, pg, elements<T>(dx));
  });
}

}  // namespace weft
