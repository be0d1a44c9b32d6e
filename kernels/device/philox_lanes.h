// Sixteen blocks of a Philox stream at once: the same words as PhiloxStream::block(), several times faster.
#pragma once

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include <cstring>

#include "tensor/philox.h"

namespace weft {

inline constexpr int64_t philox_lanes = 16;

/// The words of blocks first .. first + 15, in the order of the stream.
inline void philox_words(const PhiloxStream& stream, uint64_t first, uint32_t (&out)[4 * philox_lanes]) {
#ifdef __AVX512F__
  // A 32-bit word in each 64-bit lane, so that a product keeps both halves; eight blocks in a vector.
  using Wide = uint64_t __attribute__((vector_size(64)));
  using Order = int64_t __attribute__((vector_size(64)));
  for (int64_t half = 0; half < 2; ++half) {
    const Wide low = Wide{} + 0xffffffffu, counter = Wide{0, 1, 2, 3, 4, 5, 6, 7} + (stream.offset + first + 8 * half);
    // A product reads the lower halves of its lanes only, so that what the upper ones hold does not matter until the end.
    const auto product = [](const Wide& c, uint32_t m) {
      return reinterpret_cast<Wide>(_mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(c), _mm512_set1_epi64(m)));
    };
    Wide c0 = counter, c1 = counter >> 32, c2{}, c3{};
    uint32_t k0 = static_cast<uint32_t>(stream.seed), k1 = static_cast<uint32_t>(stream.seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      const Wide p0 = product(c0, 0xD2511F53u), p1 = product(c2, 0xCD9E8D57u);
      c0 = (p1 >> 32) ^ c1 ^ k0;
      c1 = p1;
      c2 = (p0 >> 32) ^ c3 ^ k1;
      c3 = p0;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    const Wide front = (c0 & low) | (c1 << 32), back = (c2 & low) | (c3 << 32);  // words 0, 1 and words 2, 3 of each block
    const Wide words[2] = {__builtin_shuffle(front, back, Order{0, 8, 1, 9, 2, 10, 3, 11}),
                           __builtin_shuffle(front, back, Order{4, 12, 5, 13, 6, 14, 7, 15})};
    std::memcpy(out + 32 * half, words, sizeof(words));
  }
#else
  for (int64_t lane = 0; lane < philox_lanes; ++lane) {
    const auto words = stream.block(first + lane);
    std::memcpy(out + 4 * lane, words.data(), sizeof(words));
  }
#endif
}

}  // namespace weft
