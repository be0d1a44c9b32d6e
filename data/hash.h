// Fixed 64-bit hashes: what must come out the same on every machine and in every run (splits, shuffling, augmentation).
#pragma once

#include <cstdint>
#include <string_view>

namespace weft {

/// The finaliser of splitmix64 (Steele, Lea and Flood 2014): a bijection in which every input bit moves every output
/// bit.
inline uint64_t mix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/// FNV-1a over the bytes, then mix64, since FNV alone leaves the high bits of short texts alike.
inline uint64_t hash_text(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (unsigned char byte : text) hash = (hash ^ byte) * 0x100000001B3u;
  return mix64(hash);
}

/// The splitmix64 sequence: a small generator whose whole state is one number.
class SplitMix {
 public:
  explicit SplitMix(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t value = mix64(state_);
    state_ += 0x9E3779B97F4A7C15u;
    return value;
  }
  /// Uniform in [0, bound), bound >= 1. The bias is below bound / 2^64.
  uint64_t below(uint64_t bound) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }

 private:
  uint64_t state_;
};

}  // namespace weft
