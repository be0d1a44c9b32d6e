// Philox4x32-10 on the cuda device: the same words as tensor/philox.h.
#pragma once

#include "kernels/device/launch.cuh"
#include "tensor/cuda_graph.h"
#include "tensor/philox.h"

namespace weft::device {

/// A stream as kernels take it. A recorded kernel has the offset of the recording; *shift is how far the generator has
/// moved since.
struct Draws {
  uint64_t seed, offset;
  const uint64_t* shift;
  explicit Draws(const PhiloxStream& stream)
      : seed(stream.seed), offset(stream.offset), shift(cuda::draw_shift(stream.seed)) {}
};

/// The four words of numbers 4 * index .. 4 * index + 3 of a stream.
__device__ inline uint4 philox_block(const Draws& stream, uint64_t index) {
  const uint64_t counter = stream.offset + (stream.shift ? *stream.shift : 0) + index;
  uint4 c = make_uint4(static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0);
  uint32_t k0 = static_cast<uint32_t>(stream.seed), k1 = static_cast<uint32_t>(stream.seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, c.x), low0 = 0xD2511F53u * c.x;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, c.z), low1 = 0xCD9E8D57u * c.z;
    c = make_uint4(high1 ^ c.y ^ k0, low1, high0 ^ c.w ^ k1, low0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

__device__ inline uint32_t word_of(const uint4& block, int i) {
  return i == 0 ? block.x : i == 1 ? block.y : i == 2 ? block.z : block.w;
}
/// Uniform in [0, 1) with 24 bits.
__device__ inline float uniform_of(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

}  // namespace weft::device
