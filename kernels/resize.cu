// y[i, j] = sum over a, b of v[i, a] w[j, b] x[a, b]: see resize.cc. Both axes at once: with a triangle filter every
// pixel of the larger side has two taps an axis, so four multiplications a pixel, whatever the factor. Thread mapping:
// one thread an element of y, channels innermost, so that a warp's threads mostly share their taps and read neighbours.
// Napkin maths: 4 bytes read an element of x and 4 written an element of y in f32; what outputs share comes from the
// cache.
#include "kernels/device/launch.cuh"
#include "kernels/device/taps.h"

namespace weft {

namespace {

constexpr int block_size = 256;

// An axis on the device: first, count and offset of every output in one array.
struct Axis {
  const int32_t* places;
  const float* weights;
  int64_t size;
  __device__ int first(int64_t i) const { return places[i]; }
  __device__ int count(int64_t i) const { return places[size + i]; }
  __device__ const float* of(int64_t i) const { return weights + places[2 * size + i]; }
};

template <class T>
__global__ void resize_elements(const T* x, T* y, int64_t count, int64_t H, int64_t W, int64_t C, Axis down,
                                Axis across) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x;
  if (i >= count) return;
  const int64_t c = i % C, col = i / C % across.size, row = i / (C * across.size) % down.size,
                image = i / (C * across.size * down.size);
  const T* from = x + ((image * H + down.first(row)) * W + across.first(col)) * C + c;
  const float *v = down.of(row), *w = across.of(col);
  float sum = 0;
  for (int a = 0; a < down.count(row); ++a) {
    float line = 0;
    for (int b = 0; b < across.count(col); ++b) line += w[b] * to_float(from[(a * W + b) * C]);
    sum += v[a] * line;
  }
  y[i] = from_float<T>(sum);
}

// Owns an Axis' memory.
struct AxisMemory {
  Tensor places, weights;
  int64_t size;

  explicit AxisMemory(const Taps& taps) : size(taps.size()) {
    std::vector<int32_t> numbers;
    for (const auto* list : {&taps.first, &taps.count, &taps.offset})
      numbers.insert(numbers.end(), list->begin(), list->end());
    places = Tensor::from(numbers, {3 * size}).to(Device::cuda);
    weights = Tensor::from(std::vector<float>(taps.weight.begin(), taps.weight.end()),
                           {static_cast<int64_t>(taps.weight.size())})
                  .to(Device::cuda);
  }
  Axis view() const { return {elements<int32_t>(places), elements<float>(weights), size}; }
};

}  // namespace

// x [N, H, W, C] -> y [N, down's size, across' size, C].
void resize_cuda(const Tensor& x, const Tensor& y, const Taps& down, const Taps& across) {
  const AxisMemory rows(down), cols(across);
  on_float(x.dtype(), [&]<class T> {
    launch("resize", resize_elements<T>, grid_of(y.numel(), block_size), block_size, 0, elements<T>(x), elements<T>(y),
           y.numel(), x.dim(1), x.dim(2), x.dim(3), rows.view(), cols.view());
  });
}

}  // namespace weft
