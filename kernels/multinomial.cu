// Draws of indices: see multinomial.cc. Sums in f64, added in order, so that the cpu draws the same.
// Thread mapping: one thread a row for the sums, whose order matters; then one thread a draw, which searches them by
// halves. Napkin maths: 4 bytes read and 8 written a weight; a row is a chain of additions, so this is for few or short
// rows, as in sampling.
#include "kernels/device/philox.cuh"

namespace weft {

namespace {

constexpr int block_size = 128;

__device__ int64_t thread_index() { return static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x; }

// seen[b] is the sum of row b, or its least weight if that is negative.
template <class T> __global__ void sum_weights(const T* p, double* sums, double* seen, int64_t B, int64_t K) {
  const int64_t b = thread_index();
  if (b >= B) return;
  double sum = 0, least = 0;
  for (int64_t k = 0; k < K; ++k) {
    const double v = to_float(p[b * K + k]);
    least = v < least ? v : least;
    sums[b * K + k] = sum += v;
  }
  seen[b] = least < 0 ? least : sum;
}

__global__ void draw_indices(const double* sums, int64_t* y, device::Draws stream, int64_t B, int64_t K,
                             int64_t count) {
  const int64_t i = thread_index();
  if (i >= B * count) return;
  const uint4 words = device::philox_block(stream, i / 2);
  const uint32_t high = i % 2 ? words.z : words.x, low = i % 2 ? words.w : words.y;
  const double u = (static_cast<double>(high >> 5) * 0x1p26 + static_cast<double>(low >> 6)) * 0x1p-53;
  const double* row = sums + i / count * K;
  const double at = u * row[K - 1];
  int64_t begin = 0, end = K;  // the first k with at < row[k]
  while (begin < end) {
    const int64_t middle = (begin + end) / 2;
    if (at < row[middle]) {
      end = middle;
    } else {
      begin = middle + 1;
    }
  }
  y[i] = begin;
}

}  // namespace

// p [B, K] -> y [B, count] i64, seen [B] f64. Where seen is not above 0 and finite, y means nothing.
void multinomial_cuda(const Tensor& p, const Tensor& y, const Tensor& seen, const PhiloxStream& stream) {
  const int64_t B = p.dim(0), K = p.dim(1);
  if (K == 0) return cuda::zero(seen.raw(), seen.nbytes());
  const Tensor sums = Tensor::empty({B, K}, DType::f64, Device::cuda);
  on_float(p.dtype(), [&]<class T> {
    launch("multinomial_sums", sum_weights<T>, grid_of(B, block_size), block_size, 0, elements<T>(p),
           elements<double>(sums), elements<double>(seen), B, K);
  });
  launch("multinomial_draws", draw_indices, grid_of(y.numel(), block_size), block_size, 0, elements<double>(sums),
         elements<int64_t>(y), stream, B, K, y.dim(1));
}

}  // namespace weft
