// y = x keep / (1 - p), the mask drawn again in the backward: see dropout.cc.
// Thread mapping: one thread takes four neighbouring elements, those of one Philox block, so that no draw is thrown
// away. Napkin maths: 8 bytes an element in f32. A draw costs 10 rounds of 6 integer instructions for 4 elements:
// at 3.35 TB/s an H100's SM sees 1.6 elements a cycle, 24 integer instructions of the 64 it can do.
#include "kernels/device/philox.cuh"
#include "kernels/device/vector.cuh"

namespace weft {

namespace {

constexpr int block_size = 256;

template <class T, int V>
__global__ void dropout_elements(const T* x, T* y, int64_t n, device::Draws stream, uint32_t threshold, float scale) {
  const int64_t block = static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x, i = 4 * block;
  if (i >= n) return;
  const uint4 words = device::philox_block(stream, block);
  const auto kept = [&](float v, int k) { return device::word_of(words, k) >> 8 >= threshold ? v * scale : 0.0f; };
  if (V == 4 && i + 4 <= n) {
    const auto p = Pack<T, V>::load(x + i);
    Pack<T, V> out;
#pragma unroll
    for (int k = 0; k < V; ++k) out.set(k, kept(p[k], k));
    out.store(y + i);
  } else {
    for (int k = 0; k < 4 && i + k < n; ++k) y[i + k] = from_float<T>(kept(to_float(x[i + k]), k));
  }
}

}  // namespace

void dropout_cuda(const Tensor& x, const Tensor& y, const PhiloxStream& stream, uint32_t threshold, double scale) {
  on_float(x.dtype(), [&]<class T> {
    const bool wide = fits_packs(elements<T>(x), 0) && fits_packs(elements<T>(y), 0);
    launch("dropout", wide ? dropout_elements<T, 4> : dropout_elements<T, 1>, grid_of(x.numel(), 4 * block_size),
           block_size, 0, elements<T>(x), elements<T>(y), x.numel(), stream, threshold, static_cast<float>(scale));
  });
}

}  // namespace weft
