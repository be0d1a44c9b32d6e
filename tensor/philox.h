// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter-based generator.
// Number i of a stream is a pure function of (seed, offset + i / 4, i % 4), so every device and every thread count
// draws the same numbers.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace weft {

inline std::array<uint32_t, 4> philox4x32(uint64_t key, uint64_t counter, uint64_t counter_high = 0) {
  std::array<uint32_t, 4> c{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                            static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

/// Uniform in [0, 1) with 24 bits.
inline float uniform_from_bits(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

/// A run of numbers reserved from a Random: what an op receives.
struct PhiloxStream {
  uint64_t seed = 0;
  uint64_t offset = 0;

  /// The four 32-bit words of numbers 4 * block .. 4 * block + 3.
  std::array<uint32_t, 4> block(uint64_t index) const { return philox4x32(seed, offset + index); }
  uint32_t bits(uint64_t i) const { return block(i / 4)[i % 4]; }
  float uniform(uint64_t i) const { return uniform_from_bits(bits(i)); }
  /// Standard normal (Box-Muller); numbers 2j and 2j + 1 share a pair of words.
  double normal(uint64_t i) const {
    const auto words = block(i / 4);
    const int pair = static_cast<int>(i % 4) / 2 * 2;
    const double u1 = (words[pair] + 1.0) * 0x1p-32, u2 = words[pair + 1] * 0x1p-32;
    const double r = std::sqrt(-2 * std::log(u1)), angle = 2 * 3.14159265358979323846 * u2;
    return i % 2 ? r * std::sin(angle) : r * std::cos(angle);
  }
};

/// Hands out streams one after another. Its state is two numbers, which a checkpoint keeps.
struct Random {
  uint64_t seed = 0;
  uint64_t offset = 0;

  /// A stream of `count` numbers that no other stream of this generator overlaps.
  PhiloxStream reserve(uint64_t count) {
    const PhiloxStream stream{seed, offset};
    offset += (count + 3) / 4;
    return stream;
  }
};

}  // namespace weft
