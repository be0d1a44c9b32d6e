// Sixteen blocks of a Philox stream at once: the same words as PhiloxStream::block(), several times faster.
#pragma once

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include <cstring>

#include "tensor/philox.h"

namespace weft {

inline constexpr int64_t philox_lanes = 16;

/// The words of blocks first .. first + 15, in the order of the stream.
inline void philox_words(const PhiloxStream& stream, uint64_t first, uint32_t (&out)[4 * philox_lanes]) {
#if defined(__AVX512F__) || defined(__AVX2__)
  // A 32-bit word in each 64-bit lane, so that a product keeps both halves.
#ifdef __AVX512F__
  constexpr int width = 8;
#else
  constexpr int width = 4;
#endif
  using Wide = uint64_t __attribute__((vector_size(width * 8)));
  using Order = int64_t __attribute__((vector_size(width * 8)));
  const Wide low = Wide{} + 0xffffffffu;
  // A product reads the lower halves of its lanes only, so that what the upper ones hold does not matter until the end.
  const auto product = [](const Wide& c, uint32_t m) {
#ifdef __AVX512F__
    return reinterpret_cast<Wide>(_mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(c), _mm512_set1_epi64(m)));
#else
    return reinterpret_cast<Wide>(_mm256_mul_epu32(reinterpret_cast<__m256i>(c), _mm256_set1_epi64x(m)));
#endif
  };
  // Two vectors go hand in hand: one waits for its products while the other's are begun, and they share the keys.
  for (int begin = 0; begin < philox_lanes; begin += 2 * width) {
    Wide c0[2], c1[2], c2[2]{}, c3[2]{};
    for (int half = 0; half < 2; ++half) {
#ifdef __AVX512F__
      c0[half] = Wide{0, 1, 2, 3, 4, 5, 6, 7} + (stream.offset + first + begin + width * half);
#else
      c0[half] = Wide{0, 1, 2, 3} + (stream.offset + first + begin + width * half);
#endif
      c1[half] = c0[half] >> 32;
    }
    uint32_t k0 = static_cast<uint32_t>(stream.seed), k1 = static_cast<uint32_t>(stream.seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      for (int half = 0; half < 2; ++half) {
        const Wide p0 = product(c0[half], 0xD2511F53u), p1 = product(c2[half], 0xCD9E8D57u);
        c0[half] = (p1 >> 32) ^ c1[half] ^ k0;
        c1[half] = p1;
        c2[half] = (p0 >> 32) ^ c3[half] ^ k1;
        c3[half] = p0;
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    for (int half = 0; half < 2; ++half) {
      // Words 0, 1 and words 2, 3 of each block.
      const Wide front = (c0[half] & low) | (c1[half] << 32), back = (c2[half] & low) | (c3[half] << 32);
#ifdef __AVX512F__
      const Wide words[2] = {__builtin_shuffle(front, back, Order{0, 8, 1, 9, 2, 10, 3, 11}),
                             __builtin_shuffle(front, back, Order{4, 12, 5, 13, 6, 14, 7, 15})};
#else
      const Wide words[2] = {__builtin_shuffle(front, back, Order{0, 4, 1, 5}),
                             __builtin_shuffle(front, back, Order{2, 6, 3, 7})};
#endif
      std::memcpy(out + 4 * (begin + width * half), words, sizeof(words));
    }
  }
#else
  for (int64_t lane = 0; lane < philox_lanes; ++lane) {
    const auto words = stream.block(first + lane);
    std::memcpy(out + 4 * lane, words.data(), sizeof(words));
  }
#endif
}

}  // namespace weft
