// Forward: y = x keep / (1 - p).  Backward: dx = dy keep / (1 - p).
// Saved: the place in the random stream (two numbers); the backward draws the same mask again.
#include "kernels/dropout.h"

#include "kernels/device/elementwise.h"
#include "kernels/device/philox_lanes.h"
#include "kernels/device/rows.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

// kernels/dropout.cu
void dropout_cuda(const Tensor& x, const Tensor& y, const PhiloxStream& stream, uint32_t threshold, double scale);

namespace {

Tensor apply(const Tensor& x, double p, const PhiloxStream& stream) {
  Tensor y = empty_like(x);
  // uniform(i) >= p, with uniform(i) = a 24-bit integer / 2^24.
  const uint32_t threshold = static_cast<uint32_t>(std::ceil(p * 0x1p24));
  on_device("dropout", x, [&]<class T> {
    using A = accumulator_t<T>;
    const A scale = static_cast<A>(1 / (1 - p));
    write_blocks(y.data<T>(), y.numel(), [=, x = x.data<T>()](T* out, int64_t begin, int64_t end) {
      uint32_t words[4 * philox_lanes];
      for (int64_t i = begin; i < end;) {
        const int64_t skip = i % 4, count = std::min(4 * philox_lanes - skip, end - i);
        philox_words(stream, i / 4, words);
        T* to = out + (i - begin);
        alignas(64) A kept[4 * philox_lanes];
#pragma omp simd
        for (int64_t j = 0; j < count; ++j) {
          const A scaled = static_cast<A>(x[i + j]) * scale;
          kept[j] = (words[skip + j] >> 8) >= threshold ? scaled : A{0};
        }
        constexpr int64_t line = 64 / sizeof(T);
        int64_t j = 0;
        for (; j + line <= count; j += line) write_line(to + j, kept + j, false);
        for (; j < count; ++j) to[j] = T(kept[j]);
        i += count;
      }
    });
  }, [&] { dropout_cuda(x, y, stream, threshold, 1 / (1 - p)); });
  return y;
}

}  // namespace

Tensor dropout(const Tensor& x, double p, Random& random) {
  check(x.defined(), "[dropout] x is undefined");
  check(p >= 0 && p < 1, "[dropout] 0 <= p < 1 must hold but p is {}", p);
  if (!Training::active() || p == 0) return x;
  const PhiloxStream stream = random.reserve(x.numel());
  return record("dropout", apply(x, p, stream), {x},
                [p, stream](const Tensor& dy) -> Tensors { return {apply(dy, p, stream)}; });
}

}  // namespace weft
