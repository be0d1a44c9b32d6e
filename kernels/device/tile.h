// Small matrix products out of packed buffers that fit the nearest caches, for kernels that fuse products with other work.
// A product C [M, N] = A [M, K] B [K, N] runs over "units" of depth: a float, a double, or a pair of neighbouring bf16 where the
// processor multiplies pairs. One register tile covers tile_rows rows of C and up to two vectors of its columns.
// Buffers are padded: M to tile_rows, N to a vector. What the padding of A or B holds only reaches the padding of C.
#pragma once

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

#include "tensor/dtype.h"

namespace weft::tile {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64, tile_rows = 8;
#elif defined(__AVX__)
inline constexpr int vector_bytes = 32, tile_rows = 4;
#else
inline constexpr int vector_bytes = 16, tile_rows = 4;
#endif

/// Two bf16 that are neighbours along the depth of a product.
struct bf16_pair {
  bf16 first, second;
};

/// How elements of type T enter a product: as units, which hold `depth` elements each, summed up in `Sum`.
template <class T> struct Operand {
  using Unit = T;
  using Sum = T;
  static constexpr int depth = 1;
};
template <> struct Operand<bf16> {
#ifdef __AVX512BF16__
  using Unit = bf16_pair;
  static constexpr int depth = 2;
#else
  using Unit = float;
  static constexpr int depth = 1;
#endif
  using Sum = float;
};

template <class Unit> using sum_t = std::conditional_t<std::is_same_v<Unit, double>, double, float>;
template <class Unit> inline constexpr int lanes = vector_bytes / static_cast<int>(sizeof(Unit));
/// Columns of B that lie side by side in a panel.
template <class Unit> inline constexpr int panel = 2 * lanes<Unit>;

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

template <class E> struct VectorOf {
  typedef E type __attribute__((vector_size(vector_bytes)));
};
template <class E> using Vector = typename VectorOf<E>::type;

template <class V> V load(const void* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline Vector<float> multiply_add(Vector<float> sum, const float* a, Vector<float> b) { return sum + *a * b; }
inline Vector<double> multiply_add(Vector<double> sum, const double* a, Vector<double> b) { return sum + *a * b; }
#ifdef __AVX512BF16__
inline Vector<float> multiply_add(Vector<float> sum, const bf16_pair* a, Vector<float> b) {
  float both;
  std::memcpy(&both, a, sizeof both);
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(_mm512_set1_ps(both)), reinterpret_cast<__m512bh>(b));
}
#endif

/// One register tile. A(m, k) = a[m * a_row + k * a_step]; B(k, n) = b[k * b_step + n].
template <int vectors, class Unit, class Sum>
void multiply_tile(int64_t depth, const Unit* a, int64_t a_row, int64_t a_step, const Unit* b, int64_t b_step, Sum* c, int64_t c_row, bool add) {
  using V = Vector<Sum>;
  V sum[tile_rows][vectors];
#pragma GCC unroll 8
  for (int r = 0; r < tile_rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) sum[r][v] = add ? load<V>(c + r * c_row + v * lanes<Sum>) : V{};
  }
  for (int64_t k = 0; k < depth; ++k) {
    V bv[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) bv[v] = load<V>(b + v * lanes<Sum>);
#pragma GCC unroll 8
    for (int r = 0; r < tile_rows; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sum[r][v] = multiply_add(sum[r][v], a + r * a_row, bv[v]);
    }
    a += a_step;
    b += b_step;
  }
#pragma GCC unroll 8
  for (int r = 0; r < tile_rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) std::memcpy(c + r * c_row + v * lanes<Sum>, &sum[r][v], sizeof(V));
  }
}

/// A's elements: A(m, k) = at[m * row + k * step].
template <class Unit> struct Left {
  const Unit* at;
  int64_t row, step;
};
/// B's elements: column n of depth k = at[n / panel * panel_step + k * step + n % panel].
template <class Unit> struct Right {
  const Unit* at;
  int64_t step, panel_step;
};

/// C [m, n] = (or += if `add`) A B over `depth` units; m and n are rounded up to whole tiles.
template <class Unit, class Sum>
void multiply(int64_t m, int64_t n, int64_t depth, Left<Unit> a, Right<Unit> b, Sum* c, int64_t c_row, bool add) {
  for (int64_t j = 0; j < n; j += panel<Unit>) {
    const Unit* right = b.at + j / panel<Unit> * b.panel_step;
    for (int64_t i = 0; i < m; i += tile_rows) {
      if (n - j > lanes<Unit>) {
        multiply_tile<2>(depth, a.at + i * a.row, a.row, a.step, right, b.step, c + i * c_row + j, c_row, add);
      } else {
        multiply_tile<1>(depth, a.at + i * a.row, a.row, a.step, right, b.step, c + i * c_row + j, c_row, add);
      }
    }
  }
}

/// Transposes a square block of 4- or 8-byte units held in one vector a row: swaps ever smaller off-diagonal blocks.
template <class E, int n = lanes<E>> void transpose(Vector<E> (&x)[n]) {
  using I = std::conditional_t<sizeof(E) == 8, int64_t, int32_t>;
#pragma GCC unroll 4
  for (int s = n / 2; s > 0; s /= 2) {
    Vector<I> upper, lower;
    for (int l = 0; l < n; ++l) {
      upper[l] = l & s ? n + l - s : l;
      lower[l] = l & s ? n + l : l + s;
    }
#pragma GCC unroll 16
    for (int r = 0; r < n; ++r) {
      if (r & s) continue;
      const Vector<E> a = x[r], b = x[r + s];
      x[r] = __builtin_shuffle(a, b, upper);
      x[r + s] = __builtin_shuffle(a, b, lower);
    }
  }
}

/// Buffers of one thread, kept from call to call: fresh pages would cost a fault each.
class Scratch {
 public:
  /// Starts anew with room for `bytes` in all.
  void reset(int64_t bytes) {
    if (bytes > size_) {
      memory_.reset(static_cast<char*>(::operator new(bytes, std::align_val_t{64})));
      size_ = bytes;
    }
    used_ = 0;
  }
  template <class E> E* take(int64_t n) {
    E* at = reinterpret_cast<E*>(memory_.get() + used_);
    used_ += bytes_for<E>(n);
    check(used_ <= size_, "[scratch] {} bytes were reserved but {} are needed", size_, used_);
    return at;
  }
  template <class E> static int64_t bytes_for(int64_t n) { return round_up(n * static_cast<int64_t>(sizeof(E)), 64); }

 private:
  struct Free {
    void operator()(char* p) const { ::operator delete(p, std::align_val_t{64}); }
  };
  std::unique_ptr<char, Free> memory_;
  int64_t size_ = 0, used_ = 0;
};

/// rows x cols of x (row stride x_stride elements) as the left operand, depth along the columns, or in f32 and f64 as the right
/// operand with depth along the rows: dst [round_up(rows, tile_rows), width / depth] units, width >= cols a multiple of a vector.
template <class T, class Unit> void pack_rows(const T* x, int64_t x_stride, int64_t rows, int64_t cols, int64_t width, Unit* dst) {
  constexpr bool pairs = std::is_same_v<Unit, bf16_pair>;
  using E = std::conditional_t<pairs, bf16, Unit>;
  E* out = reinterpret_cast<E*>(dst);
  for (int64_t r = 0; r < rows; ++r) {
    const T* xr = x + r * x_stride;
    E* to = out + r * width;
    if constexpr (std::is_same_v<T, E>) {
      std::memcpy(static_cast<void*>(to), xr, cols * sizeof(E));
    } else {
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) to[c] = static_cast<E>(xr[c]);
    }
    std::memset(static_cast<void*>(to + cols), 0, (width - cols) * sizeof(E));
  }
  const int64_t padded = round_up(rows, tile_rows);
  std::memset(static_cast<void*>(out + rows * width), 0, (padded - rows) * width * sizeof(E));
}

/// rows x cols of x as the right operand with depth along the rows. f32, f64: pack_rows. Pairs of bf16: row 2r and row 2r + 1 are
/// interleaved, dst [ceil(rows / 2), width] units; a missing last row counts as zeros.
template <class T, class Unit> void pack_right(const T* x, int64_t x_stride, int64_t rows, int64_t cols, int64_t width, Unit* dst) {
  if constexpr (std::is_same_v<Unit, bf16_pair>) {
    for (int64_t r = 0; r < rows; r += 2) {
      const uint16_t* even = reinterpret_cast<const uint16_t*>(x + r * x_stride);
      const uint16_t* odd = even + x_stride;
      uint32_t* to = reinterpret_cast<uint32_t*>(dst) + r / 2 * width;
      if (r + 1 < rows) {
#pragma omp simd
        for (int64_t c = 0; c < cols; ++c) to[c] = even[c] | static_cast<uint32_t>(odd[c]) << 16;
      } else {
#pragma omp simd
        for (int64_t c = 0; c < cols; ++c) to[c] = even[c];
      }
      std::memset(to + cols, 0, (width - cols) * sizeof(uint32_t));
    }
  } else {
    pack_rows(x, x_stride, rows, cols, width, dst);
  }
}

/// Units of scratch for pack_transposed.
template <class Unit> int64_t transposed_units(int64_t rows, int64_t width, int depth) {
  return round_up(rows, panel<Unit>) * (width / depth);
}

/// rows x cols of x as the right operand with depth along the columns, that is transposed: panels of `panel` rows of x,
/// dst [panels, width / depth, panel] units. Rows that fill up the last vector count as zeros.
template <class T, class Unit> void pack_transposed(const T* x, int64_t x_stride, int64_t rows, int64_t cols, int64_t width, Unit* dst) {
  constexpr int n = lanes<Unit>, depth = Operand<T>::depth;
  using E = sum_t<Unit>;  // pairs of bf16 move as floats
  const int64_t units = width / depth;
  E* out = reinterpret_cast<E*>(dst);
  for (int64_t r = 0; r < rows; r += n) {
    E* to = out + r / panel<Unit> * units * panel<Unit> + r % panel<Unit>;
    for (int64_t u = 0; u < units; u += n) {
      Vector<E> block[n];
      const int64_t elements = std::min<int64_t>(n * depth, cols - u * depth);
      for (int l = 0; l < n; ++l) {
        block[l] = Vector<E>{};
        if (r + l >= rows || elements <= 0) continue;
        const T* from = x + (r + l) * x_stride + u * depth;
        if constexpr (sizeof(T) * depth == sizeof(Unit)) {
          if (elements == n * depth) {
            block[l] = load<Vector<E>>(from);
          } else {
            std::memcpy(&block[l], from, elements * sizeof(T));
          }
        } else {
          for (int64_t c = 0; c < elements; ++c) block[l][c] = static_cast<E>(from[c]);
        }
      }
      transpose<E>(block);
      for (int64_t l = 0; l < std::min<int64_t>(n, units - u); ++l) std::memcpy(to + (u + l) * panel<Unit>, &block[l], sizeof block[l]);
    }
  }
}

/// Sums as the left operand, depth along the columns: rows x cols (a multiple of a vector) in place for f32 and f64, rounded to
/// pairs in dst for bf16.
template <class Unit, class Sum> Left<Unit> left_of(const Sum* x, int64_t stride, int64_t rows, int64_t cols, Unit* dst) {
  if constexpr (std::is_same_v<Unit, bf16_pair>) {
#ifdef __AVX512BF16__
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; c += 16) {
        const __m256bh half = _mm512_cvtneps_pbh(_mm512_loadu_ps(x + r * stride + c));
        std::memcpy(static_cast<void*>(dst + (r * stride + c) / 2), &half, sizeof half);
      }
    }
#endif
    return {dst, stride / 2, 1};
  } else {
    return {x, stride, 1};
  }
}

/// Sums transposed as the left operand, depth along the rows: A(m, k) is x[k][m]. In place for f32 and f64; for bf16 pairs of
/// rows are interleaved in dst, a missing last row counts as zeros.
template <class Unit, class Sum> Left<Unit> left_transposed_of(const Sum* x, int64_t stride, int64_t rows, int64_t cols, Unit* dst) {
  if constexpr (std::is_same_v<Unit, bf16_pair>) {
#ifdef __AVX512BF16__
    alignas(64) uint16_t order[32];
    for (int l = 0; l < 32; ++l) order[l] = static_cast<uint16_t>(l / 2 + l % 2 * 16);
    const __m512i interleave = _mm512_load_si512(order);
    for (int64_t r = 0; r < rows; r += 2) {
      for (int64_t c = 0; c < cols; c += 16) {
        const __m512 even = _mm512_loadu_ps(x + r * stride + c);
        const __m512 odd = r + 1 < rows ? _mm512_loadu_ps(x + (r + 1) * stride + c) : _mm512_setzero_ps();
        const __m512i both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));
        _mm512_storeu_si512(dst + r / 2 * stride + c, _mm512_permutexvar_epi16(interleave, both));
      }
    }
#endif
    return {dst, 1, stride};
  } else {
    return {x, 1, stride};
  }
}

}  // namespace weft::tile
