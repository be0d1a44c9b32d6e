// Forward: y = x keep / (1 - p).  Backward: dx = dy keep / (1 - p).
// Saved: the place in the random stream (two numbers); the backward draws the same mask again.
#include "kernels/dropout.h"

#include "kernels/device/elementwise.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

namespace {

constexpr int64_t lanes = 16;

// Numbers 4 * first .. 4 * (first + lanes) - 1 of the stream as 24-bit integers; Philox side by side, so that it
// vectorises.
void draw(const PhiloxStream& stream, uint64_t first, uint32_t* out) {
  uint32_t words[4][lanes];
#pragma omp simd
  for (int64_t l = 0; l < lanes; ++l) {
    const uint64_t counter = stream.offset + first + l;
    uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32), c2 = 0, c3 = 0;
    uint32_t k0 = static_cast<uint32_t>(stream.seed), k1 = static_cast<uint32_t>(stream.seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
      c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
      c1 = static_cast<uint32_t>(p1);
      c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
      c3 = static_cast<uint32_t>(p0);
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    words[0][l] = c0, words[1][l] = c1, words[2][l] = c2, words[3][l] = c3;
  }
  for (int64_t l = 0; l < lanes; ++l) {
    for (int64_t w = 0; w < 4; ++w) out[4 * l + w] = words[w][l] >> 8;
  }
}

Tensor apply(const Tensor& x, double p, const PhiloxStream& stream) {
  Tensor y = empty_like(x);
  // uniform(i) >= p, with uniform(i) = a 24-bit integer / 2^24.
  const uint32_t threshold = static_cast<uint32_t>(std::ceil(p * 0x1p24));
  on_device("dropout", x, [&]<class T> {
    using A = accumulator_t<T>;
    const A scale = static_cast<A>(1 / (1 - p));
    write_blocks(y.data<T>(), y.numel(), [=, x = x.data<T>()](T* out, int64_t begin, int64_t end) {
      uint32_t number[4 * lanes];
      for (int64_t i = begin; i < end;) {
        const int64_t first = i / 4, skip = i % 4, count = std::min(4 * lanes - skip, end - i);
        draw(stream, first, number);
        T* to = out + (i - begin);
#pragma omp simd
        for (int64_t j = 0; j < count; ++j) {
          to[j] = T(number[skip + j] >= threshold ? static_cast<A>(x[i + j]) * scale : A{0});
        }
        i += count;
      }
    });
  });
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
