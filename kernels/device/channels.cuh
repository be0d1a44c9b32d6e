// Statistics and elementwise passes over rows of channels (channels last), shared by batch_norm and group_norm. x is
// [samples, rows, channels]; batch_norm has one sample. Sums of a sample are taken in `pieces` of its rows, which a
// room then puts together. Thread mapping: sums: a block of 32 x 8 threads takes 32 neighbouring channels of a piece, a
// warp a row of them; elementwise passes: a thread takes 4 neighbouring elements where that divides the channels and
// fits the addresses, else one.
#pragma once

#include "kernels/device/vector.cuh"

namespace weft {

struct ChannelRows {
  int64_t samples, rows, channels, pieces;

  ChannelRows(int64_t samples, int64_t rows, int64_t channels) : samples(samples), rows(rows), channels(channels) {
    // About a thousand blocks, of 64 rows at least.
    const int64_t blocks = std::max<int64_t>(1, samples * ceil_div<int64_t>(channels, 32));
    pieces = std::clamp<int64_t>(std::min(rows / 64, 1024 / blocks), 1, 256);
  }
  int64_t elements() const { return samples * rows * channels; }
  __host__ __device__ int64_t piece_begin(int64_t piece) const { return rows * piece / pieces; }
};

/// Mean and sum of squared deviations of a part of a channel, and how two parts are put together (Chan, Golub and
/// LeVeque 1979).
template <class A> struct Moments {
  A count = 0, mean = 0, squares = 0;
  __device__ void add(A other_count, A other_mean, A other_squares) {
    if (other_count == 0) return;
    const A total = count + other_count, delta = other_mean - mean;
    squares += other_squares + delta * delta * count * other_count / total;
    mean += delta * other_count / total;
    count = total;
  }
};

inline constexpr int channel_warps = 8;
inline dim3 channel_grid(const ChannelRows& s) {
  if (s.elements() == 0) return dim3(0);
  return dim3(static_cast<unsigned>(ceil_div<int64_t>(s.channels, 32)), static_cast<unsigned>(s.pieces),
              static_cast<unsigned>(s.samples));
}

/// What channel_moments() finds: of every piece the mean and the sum of squared deviations [samples, pieces, channels],
/// the mean relative to the channel's first element [samples, channels], so that a large mean costs no digits.
struct ChannelMoments {
  float *origins, *means, *squares;
  static Tensor memory(const ChannelRows& s) {
    return Tensor::empty({s.samples * s.channels * (1 + 2 * s.pieces)}, DType::f32, Device::cuda);
  }
  ChannelMoments(const Tensor& memory, const ChannelRows& s)
      : origins(elements<float>(memory)),
        means(origins + s.samples * s.channels),
        squares(means + s.samples * s.pieces * s.channels) {}
};

template <class T> __global__ void channel_moments(const T* x, ChannelMoments m, ChannelRows s) {
  __shared__ float part[channel_warps][3][32];
  const int64_t c = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x, n = blockIdx.z;
  const int64_t begin = s.piece_begin(blockIdx.y), end = s.piece_begin(blockIdx.y + 1);
  float count = 0, sum = 0, square = 0, origin = 0,
        first = 0;  // this thread's sums are relative to its own first element
  if (c < s.channels && begin + threadIdx.y < end) {
    const T* column = x + n * s.rows * s.channels + c;
    first = to_float(column[0]);
    origin = to_float(column[(begin + threadIdx.y) * s.channels]);
    if (blockIdx.y == 0 && threadIdx.y == 0) m.origins[n * s.channels + c] = first;
    for (int64_t r = begin + threadIdx.y; r < end; r += channel_warps) {
      const float d = to_float(column[r * s.channels]) - origin;
      count += 1, sum += d, square += d * d;
    }
  }
  const float inverse = count > 0 ? 1 / count : 0.0f;
  part[threadIdx.y][0][threadIdx.x] = count;
  part[threadIdx.y][1][threadIdx.x] = (origin - first) + sum * inverse;
  part[threadIdx.y][2][threadIdx.x] = fmaxf(0.0f, square - sum * sum * inverse);
  __syncthreads();
  if (threadIdx.y > 0 || c >= s.channels) return;
  Moments<float> all;
  for (int k = 0; k < channel_warps; ++k)
    all.add(part[k][0][threadIdx.x], part[k][1][threadIdx.x], part[k][2][threadIdx.x]);
  const int64_t at = (n * s.pieces + blockIdx.y) * s.channels + c;
  m.means[at] = all.mean;
  m.squares[at] = all.squares;
}

/// From what a ReLU behind the norm masks the gradient: the affine form again, or the output, where a residual was
/// added before it.
enum class Mask { none, affine, output };

template <Mask mask> __device__ float masked(float dy, float x, float y, float centre, float scale, float shift) {
  if constexpr (mask == Mask::affine) return (x - centre) * scale + shift > 0 ? dy : 0.0f;
  if constexpr (mask == Mask::output) return y > 0 ? dy : 0.0f;
  return dy;
}

/// Sums of g and of g (x - centre), g the masked gradient: sums [2, samples, pieces, channels]. affine [3, samples,
/// channels] holds centre, scale and shift; y is read only if it is the mask.
template <class T, Mask mask>
__global__ void channel_sums(const T* x, const T* dy, const T* y, const float* affine, float* sums, ChannelRows s) {
  __shared__ float part[channel_warps][2][32];
  const int64_t c = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x, n = blockIdx.z, all = s.samples * s.channels;
  float sum = 0, product = 0;
  if (c < s.channels) {
    const float centre = affine[n * s.channels + c], scale = affine[all + n * s.channels + c],
                shift = affine[2 * all + n * s.channels + c];
    for (int64_t r = s.piece_begin(blockIdx.y) + threadIdx.y; r < s.piece_begin(blockIdx.y + 1); r += channel_warps) {
      const int64_t i = (n * s.rows + r) * s.channels + c;
      const float v = to_float(x[i]), g = masked<mask>(to_float(dy[i]), v, mask == Mask::output ? to_float(y[i]) : 0.0f,
                                                       centre, scale, shift);
      sum += g, product += g * (v - centre);
    }
  }
  part[threadIdx.y][0][threadIdx.x] = sum;
  part[threadIdx.y][1][threadIdx.x] = product;
  __syncthreads();
  if (threadIdx.y > 0 || c >= s.channels) return;
  for (int k = 1; k < channel_warps; ++k) sum += part[k][0][threadIdx.x], product += part[k][1][threadIdx.x];
  const int64_t at = (n * s.pieces + blockIdx.y) * s.channels + c;
  sums[at] = sum;
  sums[s.samples * s.pieces * s.channels + at] = product;
}

/// Where V neighbouring elements begin, and which coefficients are theirs.
struct ChannelPlace {
  int64_t i, c;  // element; n * channels + channel
  __device__ ChannelPlace(const ChannelRows& s, int V)
      : i((static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * V) {
    c = i / (s.rows * s.channels) * s.channels + i % s.channels;
  }
};

/// y = relu?((x - centre) scale + shift + residual). residual may be null.
template <class T, int V>
__global__ void channel_affine(const T* x, const T* residual, T* y, const float* affine, ChannelRows s, int64_t count,
                               bool relu) {
  const ChannelPlace at(s, V);
  if (at.i >= count) return;
  const int64_t all = s.samples * s.channels;
  const auto centre = Pack<float, V>::load(affine + at.c), scale = Pack<float, V>::load(affine + all + at.c);
  const auto shift = Pack<float, V>::load(affine + 2 * all + at.c);
  const auto px = Pack<T, V>::load(x + at.i);
  Pack<T, V> pr, out;
  if (residual) pr = Pack<T, V>::load(residual + at.i);
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const float v = (px[k] - centre[k]) * scale[k] + shift[k] + (residual ? pr[k] : 0.0f);
    out.set(k, relu && v < 0 ? 0.0f : v);  // NaN stays NaN
  }
  out.store(y + at.i);
}

/// g = the masked gradient, dx = scale g - a - (x - centre) b. coefficients [2, samples, channels] hold a and b; dx and
/// dresidual, which is g, may be null.
template <class T, int V, Mask mask>
__global__ void channel_backward(const T* x, const T* dy, const T* y, const float* affine, const float* coefficients,
                                 T* dx, T* dresidual, ChannelRows s, int64_t count) {
  const ChannelPlace at(s, V);
  if (at.i >= count) return;
  const int64_t all = s.samples * s.channels;
  const auto centre = Pack<float, V>::load(affine + at.c), scale = Pack<float, V>::load(affine + all + at.c);
  const auto a = Pack<float, V>::load(coefficients + at.c), b = Pack<float, V>::load(coefficients + all + at.c);
  Pack<float, V> shift{};
  if constexpr (mask == Mask::affine) shift = Pack<float, V>::load(affine + 2 * all + at.c);
  const auto px = Pack<T, V>::load(x + at.i), pg = Pack<T, V>::load(dy + at.i);
  Pack<T, V> py = px, out, g;
  if constexpr (mask == Mask::output) py = Pack<T, V>::load(y + at.i);
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const float of_y = masked<mask>(pg[k], px[k], py[k], centre[k], scale[k], shift[k]);
    g.set(k, of_y);
    out.set(k, scale[k] * of_y - a[k] - (px[k] - centre[k]) * b[k]);
  }
  if (dx) out.store(dx + at.i);
  if (dresidual) g.store(dresidual + at.i);
}

}  // namespace weft
