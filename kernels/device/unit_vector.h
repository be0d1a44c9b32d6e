// Inputs to products with sums in f32: a float or, of bf16, two neighbours, which some processors multiply and add at
// once. For the convolutions by hand.
#pragma once

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include <algorithm>
#include <type_traits>

#include "kernels/device/pixel_vector.h"

namespace weft {

template <class T> struct UnitOf { using type = float; };
template <> struct UnitOf<bf16> { using type = uint32_t; };
template <class T> using Unit = typename UnitOf<T>::type;
template <class T> inline constexpr int depth = sizeof(Unit<T>) / sizeof(T);

/// Keeps gcc from loading a value anew at each of its uses.
[[gnu::always_inline]] inline Vector in_register(Vector v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#elif defined(__AVX__)
  asm("" : "+x"(v));
#endif
  return v;
}

template <class U> [[gnu::always_inline]] inline Vector load_units(const U* from) {
  return *reinterpret_cast<const Vector*>(from);
}

/// One unit in all lanes.
template <class U> [[gnu::always_inline]] inline Vector broadcast(const U* unit) {
  // x - 0 is x; 0 + x would be computed, since it is not x for -0.
  return in_register(*reinterpret_cast<const float*>(unit) - Vector{});
}

template <class U> [[gnu::always_inline]] inline void multiply_add(Vector& sum, Vector a, Vector b) {
#ifdef __AVX512BF16__
  if constexpr (std::is_same_v<U, uint32_t>) {
    sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
    return;
  }
#endif
  sum += a * b;
}

inline void store_sums(float* to, const Vector& sums) { store_pixel(to, sums); }
inline void store_sums(bf16* to, const Vector& sums) {
#ifdef __AVX512BF16__
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(sums)));
#else
  store_pixel(to, sums);
#endif
}

/// Fetches memory into the second cache ahead of its use, a share of it at each of `shares` calls.
class Ahead {
 public:
  Ahead(const void* from, int64_t bytes, int64_t shares)
      : at_(static_cast<const char*>(from)), end_(at_ + bytes), share_((bytes / 64 + shares) / shares * 64) {}
  void fetch() {
    for (const char* stop = std::min(end_, at_ + share_); at_ < stop; at_ += 64) __builtin_prefetch(at_, 0, 2);
  }

 private:
  const char *at_, *end_;
  int64_t share_;
};

}  // namespace weft
