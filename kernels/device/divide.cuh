// Division by a number that is known when the kernel starts: a multiplication and a shift instead of some twenty
// instructions. Granlund and Montgomery, "Division by Invariant Integers using Multiplication", 1994, with 31-bit
// dividends: m = floor(2^(31 + l) / d) + 1, l = ceil(log2 d) fits 32 bits, and n / d = (n m) >> (31 + l) for 0 <= n <
// 2^31.
#pragma once

#include <cstdint>

namespace weft {

struct Divider {
  uint32_t divisor = 1, multiplier = 0, shift = 0;

  Divider() = default;
  explicit Divider(int64_t d) : divisor(static_cast<uint32_t>(d)) {
    if (d <= 1) return;  // n / 1 has no such multiplier
    int l = 0;
    while ((int64_t{1} << l) < d) ++l;
    multiplier = static_cast<uint32_t>((uint64_t{1} << (31 + l)) / static_cast<uint64_t>(d) + 1);
    shift = l - 1;
  }
  __device__ int divide(int n) const { return divisor == 1 ? n : static_cast<int>(__umulhi(n, multiplier) >> shift); }
  /// n / divisor; n becomes the remainder.
  __device__ int split(int& n) const {
    const int quotient = divide(n);
    n -= quotient * static_cast<int>(divisor);
    return quotient;
  }
};

}  // namespace weft
