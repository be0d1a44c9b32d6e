// y = relu?(xhat weight + bias + residual): see batch_norm.cc for the formulas, kernels/device/channels.cuh for the
// thread mappings. Napkin maths, f32: forward reads x twice and writes y, 12 bytes an element (16 with a residual);
// backward reads x and dy twice and writes dx, 20 bytes. 2^26 elements take 240 us and 400 us at 3.35 TB/s (H100).
#include "kernels/device/channels.cuh"

namespace weft {

namespace {

constexpr int block_size = 256;

// Of batch_norm's tensor `affine` [5, C]: centre, scale, shift, then what rounding the centre lost of the mean, and 1 /
// deviation.
struct Channel {
  float* affine;
  int64_t c, channels;
  __device__ void set(double mean, double rstd, float weight, float bias) const {
    const auto centre = static_cast<float>(mean);
    const double lost = mean - centre, scale = rstd * weight;
    affine[c] = centre;
    affine[channels + c] = static_cast<float>(scale);
    affine[2 * channels + c] = static_cast<float>(bias - lost * scale);
    affine[3 * channels + c] = static_cast<float>(lost);
    affine[4 * channels + c] = static_cast<float>(rstd);
  }
};

// One thread a channel puts the pieces together, in order and in f64.
__global__ void finish_statistics(ChannelMoments m, const float* weight, const float* bias, float* running_mean,
                                  float* running_var, float* affine, ChannelRows s, double eps, double momentum) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x;
  if (c >= s.channels) return;
  Moments<double> all;
  for (int64_t p = 0; p < s.pieces; ++p) {
    all.add(static_cast<double>(s.piece_begin(p + 1) - s.piece_begin(p)), m.means[p * s.channels + c],
            m.squares[p * s.channels + c]);
  }
  const double rows = static_cast<double>(s.rows), mean = static_cast<double>(m.origins[c]) + all.mean;
  Channel{affine, c, s.channels}.set(mean, 1 / sqrt(all.squares / rows + eps), weight[c], bias[c]);
  running_mean[c] = static_cast<float>((1 - momentum) * running_mean[c] + momentum * mean);
  running_var[c] = static_cast<float>((1 - momentum) * running_var[c] + momentum * all.squares / (rows - 1));
}

// One thread a channel.
__global__ void running_statistics(const float* running_mean, const float* running_var, const float* weight,
                                   const float* bias, float* affine, int64_t channels, double eps) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x;
  if (c < channels)
    Channel{affine, c, channels}.set(running_mean[c], 1 / sqrt(running_var[c] + eps), weight[c], bias[c]);
}

// One thread a channel. dweight and dbias may be null; coefficients [2, C] make dx = scale g - a - (x - centre) b.
__global__ void finish_gradients(const float* sums, const float* affine, float* dweight, float* dbias,
                                 float* coefficients, ChannelRows s, bool training) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x, C = s.channels;
  if (c >= C) return;
  double sum_g = 0, sum_gx = 0;
  for (int64_t p = 0; p < s.pieces; ++p) sum_g += sums[p * C + c], sum_gx += sums[(s.pieces + p) * C + c];
  const double scale = affine[C + c], lost = affine[3 * C + c], rstd = affine[4 * C + c];
  sum_gx = (sum_gx - lost * sum_g) * rstd;
  if (dweight) dweight[c] = static_cast<float>(sum_gx);
  if (dbias) dbias[c] = static_cast<float>(sum_g);
  const double slope = sum_gx / s.rows * rstd;
  coefficients[c] = training ? static_cast<float>(scale * (sum_g / s.rows - lost * slope)) : 0.0f;
  coefficients[C + c] = training ? static_cast<float>(scale * slope) : 0.0f;
}

}  // namespace

// affine [5, C] f32 is written for the backward. residual may be undefined.
void batch_norm_forward_cuda(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                             const Tensor& running_var, const Tensor& residual, const Tensor& y, const Tensor& affine,
                             double eps, double momentum, bool relu, bool training) {
  const ChannelRows s(1, x.rows(), x.cols());
  const dim3 per_channel = grid_of(s.channels, block_size);
  on_float(x.dtype(), [&]<class T> {
    const T *px = elements<T>(x), *pr = elements<T>(residual);
    if (training) {
      const Tensor memory = ChannelMoments::memory(s);
      const ChannelMoments moments(memory, s);
      launch("batch_norm_moments", channel_moments<T>, channel_grid(s), dim3(32, channel_warps), 0, px, moments, s);
      launch("batch_norm_statistics", finish_statistics, per_channel, block_size, 0, moments, elements<float>(weight),
             elements<float>(bias), elements<float>(running_mean), elements<float>(running_var),
             elements<float>(affine), s, eps, momentum);
    } else {
      launch("batch_norm_statistics", running_statistics, per_channel, block_size, 0, elements<float>(running_mean),
             elements<float>(running_var), elements<float>(weight), elements<float>(bias), elements<float>(affine),
             s.channels, eps);
    }
    on_width_beside_f32<T>(
        s.channels,
        [&]<int V> {
          launch("batch_norm_forward", channel_affine<T, V>, grid_of(s.elements(), block_size * V), block_size, 0, px,
                 pr, elements<T>(y), elements<float>(affine), s, s.elements(), relu);
        },
        px, pr, elements<T>(y));
  });
}

// `output` is y where a ReLU followed a residual, else undefined; so are those of dx, dweight, dbias and dresidual that
// nobody wants.
void batch_norm_backward_cuda(const Tensor& x, const Tensor& dy, const Tensor& output, const Tensor& affine, bool relu,
                              bool training, const Tensor& dx, const Tensor& dweight, const Tensor& dbias,
                              const Tensor& dresidual) {
  const ChannelRows s(1, x.rows(), x.cols());
  const Tensor sums = Tensor::empty({2, s.pieces * s.channels}, DType::f32, Device::cuda);
  const Tensor coefficients = Tensor::empty({2, s.channels}, DType::f32, Device::cuda);
  on_float(x.dtype(), [&]<class T> {
    const T *px = elements<T>(x), *pg = elements<T>(dy), *py = elements<T>(output);
    const auto passes = [&]<Mask mask> {
      if (s.elements() == 0) cuda::zero(sums.raw(), sums.nbytes());
      launch("batch_norm_sums", channel_sums<T, mask>, channel_grid(s), dim3(32, channel_warps), 0, px, pg, py,
             elements<float>(affine), elements<float>(sums), s);
      launch("batch_norm_gradients", finish_gradients, grid_of(s.channels, block_size), block_size, 0,
             elements<float>(sums), elements<float>(affine), elements<float>(dweight), elements<float>(dbias),
             elements<float>(coefficients), s, training);
      if (!dx.defined() && !dresidual.defined()) return;
      on_width_beside_f32<T>(
          s.channels,
          [&]<int V> {
            launch("batch_norm_backward", channel_backward<T, V, mask>, grid_of(s.elements(), block_size * V),
                   block_size, 0, px, pg, py, elements<float>(affine), elements<float>(coefficients), elements<T>(dx),
                   elements<T>(dresidual), s, s.elements());
          },
          px, pg, py, elements<T>(dx), elements<T>(dresidual));
    };
    if (!relu) return passes.template operator()<Mask::none>();
    if (output.defined()) return passes.template operator()<Mask::output>();
    passes.template operator()<Mask::affine>();
  });
}

}  // namespace weft
