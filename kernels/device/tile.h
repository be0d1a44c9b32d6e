// Small matrix products out of packed buffers that fit the nearest caches, for kernels that fuse products with other
// work. A product C [M, N] = A [M, K] B [K, N] runs over "units" of depth: a float, a double, or a pair of neighbouring
// bf16 where the processor multiplies pairs. One register tile covers tile_rows rows of C and up to two vectors of its
// columns. Buffers are padded: M to tile_rows, N to a vector. What the padding of A or B holds only reaches the padding
// of C.
#pragma once

// gcc 12's own intrinsics read an undefined vector on purpose.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "kernels/device/vector_math.h"
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
template <class T>
struct Operand {
  using Unit = T;
  using Sum = T;
  static constexpr int depth = 1;
};
template <>
struct Operand<bf16> {
#ifdef __AVX512BF16__
  using Unit = bf16_pair;
  static constexpr int depth = 2;
#else
  using Unit = float;
  static constexpr int depth = 1;
#endif
  using Sum = float;
};

template <class Unit>
using sum_t = std::conditional_t<std::is_same_v<Unit, double>, double, float>;
template <class Unit>
inline constexpr int lanes = vector_bytes / static_cast<int>(sizeof(Unit));
/// Columns of B that lie side by side in a panel.
template <class Unit>
inline constexpr int panel = 2 * lanes<Unit>;

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

template <class E>
struct VectorOf {
  typedef E type __attribute__((vector_size(vector_bytes)));
};
template <class E>
using Vector = typename VectorOf<E>::type;

template <class V>
V load(const void* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class V>
void store(void* p, const V& v) {
  std::memcpy(p, &v, sizeof v);
}

/// One vector of sums from elements of T, and back, rounded to nearest even.
template <class T>
Vector<typename Operand<T>::Sum> load_as_sum(const T* p) {
  using V = Vector<typename Operand<T>::Sum>;
  if constexpr (std::is_same_v<T, bf16>) {
    typedef uint16_t Half __attribute__((vector_size(vector_bytes / 2)));
    const auto bits = __builtin_convertvector(load<Half>(p), Vector<uint32_t>) << 16;
    return load<V>(&bits);
  } else {
    return load<V>(p);
  }
}
template <class T>
void store_rounded(T* p, const Vector<typename Operand<T>::Sum>& v) {
  if constexpr (std::is_same_v<T, bf16>) {
#ifdef __AVX512BF16__
    store(p, _mm512_cvtneps_pbh(v));
#else
    for (int l = 0; l < lanes<float>; ++l) p[l] = bf16(v[l]);
#endif
  } else {
    store(p, v);
  }
}

namespace detail {
template <class E, int... l>
Vector<E> swap_halves(const Vector<E>& v, int distance, std::integer_sequence<int, l...>) {
  using I = std::conditional_t<sizeof(E) == 8, int64_t, int32_t>;
  return __builtin_shuffle(v, Vector<I>{static_cast<I>(l ^ distance)...});
}
}  // namespace detail

/// f over all lanes of v, in an order that is always the same.
template <class E, class F>
E fold(Vector<E> v, F f) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const int distance = lanes<E> >> (i + 1);
    if (distance > 0) v = f(v, detail::swap_halves<E>(v, distance, std::make_integer_sequence<int, lanes<E>>()));
  }
  return v[0];
}

/// exp(x) for x at most 88, within 2 units in the last place, or 3e-6 where the result is rounded to T = bf16; 0 below
/// -87, NaN stays NaN.
template <class T>
Vector<float> exp_below(Vector<float> x) {
  const Vector<float> shifted = x * 1.44269504f + 0x1.8p23f, n = shifted - 0x1.8p23f;
  const Vector<uint32_t> power = (load<Vector<uint32_t>>(&shifted) + 127) << 23;
  const Vector<float> p =
      std::is_same_v<T, bf16> ? exp2_short_series(x * 1.44269504f - n) : exp_series(exp_remainder(x, n));
  return x < -87.0f ? Vector<float>{} : p * load<Vector<float>>(&power);
}
template <class T>
Vector<double> exp_below(Vector<double> x) {
  Vector<double> y;
  for (int l = 0; l < lanes<double>; ++l) y[l] = std::exp(x[l]);
  return y;
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
void multiply_tile(int64_t depth, const Unit* a, int64_t a_row, int64_t a_step, const Unit* b, int64_t b_step, Sum* c,
                   int64_t c_row, bool add) {
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
template <class Unit>
struct Left {
  const Unit* at;
  int64_t row, step;
};
/// B's elements: column n of depth k = at[n / panel * panel_step + k * step + n % panel].
template <class Unit>
struct Right {
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
template <class E, int s = lanes<E> / 2>
[[gnu::always_inline]] inline void transpose(Vector<E> (&x)[lanes<E>]) {
  constexpr int n = lanes<E>;
  [&]<int... l>(std::integer_sequence<int, l...>) __attribute__((always_inline)) {
#pragma GCC unroll 16
    for (int r = 0; r < n; ++r) {
      if (r & s) continue;
      const Vector<E> a = x[r], b = x[r + s];
      x[r] = __builtin_shufflevector(a, b, (l & s ? n + l - s : l)...);
      x[r + s] = __builtin_shufflevector(a, b, (l & s ? n + l : l + s)...);
    }
  }
  (std::make_integer_sequence<int, n>());
  if constexpr (s > 1) transpose<E, s / 2>(x);
}

/// Buffers of one thread, kept from call to call: fresh pages would cost a fault each.
class Scratch {
 public:
  /// Starts anew with room for `bytes` in all.
  void reset(int64_t bytes) {
    if (bytes > size_) {
      memory_.reset(static_cast<char*>(::operator new (bytes, std::align_val_t{64})));
      size_ = bytes;
    }
    used_ = 0;
  }
  template <class E>
  E* take(int64_t n) {
    E* at = reinterpret_cast<E*>(memory_.get() + used_);
    used_ += bytes_for<E>(n);
    check(used_ <= size_, "[scratch] {} bytes were reserved but {} are needed", size_, used_);
    return at;
  }
  template <class E>
  static int64_t bytes_for(int64_t n) {
    return round_up(n * static_cast<int64_t>(sizeof(E)), 64);
  }

 private:
  struct Free {
    void operator()(char* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  std::unique_ptr<char, Free> memory_;
  int64_t size_ = 0, used_ = 0;
};

/// rows x cols of x (row stride x_stride elements) as the left operand, depth along the columns, or in f32 and f64 as
/// the right operand with depth along the rows: dst [round_up(rows, tile_rows), width / depth] units, width >= cols a
/// multiple of a vector.
template <class T, class Unit>
void pack_rows(const T* x, int64_t x_stride, int64_t rows, int64_t cols, int64_t width, Unit* dst) {
  constexpr bool pairs = std::is_same_v<Unit, bf16_pair>;
  using E = std::conditional_t<pairs, bf16, Unit>;
  E* out = reinterpret_cast<E*>(dst);
  for (int64_t r = 0; r < rows; ++r) {
    const T* xr = x + r * x_stride;
    E* to = out + r * width;
    constexpr int step = vector_bytes / static_cast<int>(sizeof(E));
    int64_t c = 0;
    for (; c + step <= cols; c += step) {
      if constexpr (std::is_same_v<T, E>) {
        store(to + c, load<Vector<uint32_t>>(xr + c));
      } else {
        store(to + c, load_as_sum(xr + c));
      }
    }
    for (; c < cols; ++c) to[c] = static_cast<E>(xr[c]);
    for (; c < width; ++c) to[c] = E(0);
  }
  const int64_t padded = round_up(rows, tile_rows);
  std::memset(static_cast<void*>(out + rows * width), 0, (padded - rows) * width * sizeof(E));
}

/// rows x cols of x as the right operand with depth along the rows. f32, f64: pack_rows. Pairs of bf16: row 2r and row
/// 2r + 1 are interleaved, dst [ceil(rows / 2), width] units; a missing last row counts as zeros.
template <class T, class Unit>
void pack_right(const T* x, int64_t x_stride, int64_t rows, int64_t cols, int64_t width, Unit* dst) {
  if constexpr (std::is_same_v<Unit, bf16_pair>) {
    typedef uint16_t Half __attribute__((vector_size(vector_bytes / 2)));
    for (int64_t r = 0; r < rows; r += 2) {
      const uint16_t *even = reinterpret_cast<const uint16_t*>(x + r * x_stride), *odd = even + x_stride;
      uint32_t* to = reinterpret_cast<uint32_t*>(dst) + r / 2 * width;
      const bool both = r + 1 < rows;
      int64_t c = 0;
      for (; both && c + lanes<Unit> <= cols; c += lanes<Unit>) {
        store(to + c, __builtin_convertvector(load<Half>(even + c), Vector<uint32_t>) |
                          __builtin_convertvector(load<Half>(odd + c), Vector<uint32_t>) << 16);
      }
      for (; c < cols; ++c) to[c] = even[c] | static_cast<uint32_t>(both ? odd[c] : 0) << 16;
      for (; c < width; ++c) to[c] = 0;
    }
  } else {
    pack_rows(x, x_stride, rows, cols, width, dst);
  }
}

/// Units of scratch for pack_transposed.
template <class Unit>
int64_t transposed_units(int64_t rows, int64_t width, int depth) {
  return round_up(rows, panel<Unit>) * (width / depth);
}

/// rows x cols of x as the right operand with depth along the columns, that is transposed: panels of `panel` rows of x,
/// dst [panels, width / depth, panel] units. Rows that fill up the last vector count as zeros.
template <class T, class Unit, int depth = Operand<T>::depth>
void pack_transposed(const T* x, int64_t x_stride, int64_t rows, int64_t cols, int64_t width, Unit* dst) {
  constexpr int n = lanes<Unit>;
  using E = sum_t<Unit>;  // pairs of bf16 move as floats
  const int64_t units = width / depth;
  E* out = reinterpret_cast<E*>(dst);
  for (int64_t r = 0; r < rows; r += n) {
    E* to = out + r / panel<Unit> * units * panel<Unit> + r % panel<Unit>;
    for (int64_t u = 0; u < units; u += n) {
      const int64_t filled_rows = std::min<int64_t>(n, rows - r),
                    filled = std::clamp<int64_t>(cols - u * depth, 0, n * depth);
      const T* from = x + r * x_stride + u * depth;
      Vector<E> block[n];
      if (filled_rows == n && filled == n * depth) {
#pragma GCC unroll 16
        for (int l = 0; l < n; ++l) {
          if constexpr (sizeof(T) * depth == sizeof(E)) {
            block[l] = load<Vector<E>>(from + l * x_stride);
          } else {
            block[l] = load_as_sum(from + l * x_stride);
          }
        }
      } else {
        // The edge goes through a whole block of elements, zeros where there is no element.
        T edge[n * n * depth];
        std::memset(static_cast<void*>(edge), 0, sizeof edge);
        for (int64_t l = 0; l < filled_rows; ++l) {
          for (int64_t c = 0; c < filled; ++c) edge[l * n * depth + c] = from[l * x_stride + c];
        }
        for (int l = 0; l < n; ++l) {
          if constexpr (sizeof(T) * depth == sizeof(E)) {
            block[l] = load<Vector<E>>(edge + l * n * depth);
          } else {
            block[l] = load_as_sum(edge + l * n * depth);
          }
        }
      }
      transpose<E>(block);
      const int64_t left = units - u;
      if (left >= n) {
#pragma GCC unroll 16
        for (int l = 0; l < n; ++l) store(to + (u + l) * panel<Unit>, block[l]);
      } else {
        for (int64_t l = 0; l < left; ++l) store(to + (u + l) * panel<Unit>, block[l]);
      }
    }
  }
}

/// Rows of x [rows, cols] as the left operand, depth along the columns: whole tiles are read where they are if their
/// elements make units as they lie there, the others are packed.
template <class T>
class LeftRows {
 public:
  using Unit = typename Operand<T>::Unit;
  using Sum = typename Operand<T>::Sum;

  /// Units of scratch.
  static int64_t units(int64_t rows, int64_t cols, int64_t width) {
    return round_up(rows - in_place(rows, cols), tile_rows) * width / depth;
  }

  LeftRows(const T* x, int64_t stride, int64_t rows, int64_t cols, int64_t width, Unit* scratch)
      : x_(reinterpret_cast<const Unit*>(x)),
        packed_(scratch),
        row_(stride / depth),
        width_(width / depth),
        whole_(in_place(rows, cols)),
        depth_((cols + depth - 1) / depth) {
    pack_rows(x + whole_ * stride, stride, rows - whole_, cols, width, scratch);
  }

  /// C [m, n] = rows [first, first + m) times b; `first` is a multiple of tile_rows, m and n are rounded up to whole
  /// tiles.
  void multiply(int64_t first, int64_t m, int64_t n, Right<Unit> b, Sum* c, int64_t c_row) const {
    const int64_t tiled = round_up(m, tile_rows), there = std::clamp<int64_t>(whole_ - first, 0, tiled);
    tile::multiply<Unit>(there, n, depth_, {x_ + first * row_, row_, 1}, b, c, c_row, false);
    tile::multiply<Unit>(tiled - there, n, depth_, {packed_ + (first + there - whole_) * width_, width_, 1}, b,
                         c + there * c_row, c_row, false);
  }

 private:
  static constexpr int depth = Operand<T>::depth;
  static int64_t in_place(int64_t rows, int64_t cols) {
    return sizeof(T) * depth == sizeof(Unit) && cols % depth == 0 ? rows / tile_rows * tile_rows : 0;
  }

  const Unit *x_, *packed_;
  int64_t row_, width_, whole_, depth_;
};

/// A block of sums with rows of `row` elements, filled two rows at a time, as left operands. f32 and f64 stay where
/// they are; pairs of bf16 go to `along` and `across`, each of which may be null.
template <class T>
struct LeftBlock {
  using Unit = typename Operand<T>::Unit;
  using Sum = typename Operand<T>::Sum;
  static constexpr bool pairs = std::is_same_v<Unit, bf16_pair>;

  Sum* sums;
  int64_t row;
  Unit *along, *across;

  /// Columns from c on of rows r and r + 1, r even.
  void store_rows(int64_t r, int64_t c, const Vector<Sum>& first, const Vector<Sum>& second) const {
    if constexpr (!pairs) {
      store(sums + r * row + c, first);
      store(sums + (r + 1) * row + c, second);
    }
#ifdef __AVX512BF16__
    if constexpr (pairs) {
      const __m512i both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
      if (along) {
        store(along + (r * row + c) / 2, _mm512_castsi512_si256(both));
        store(along + ((r + 1) * row + c) / 2, _mm512_extracti64x4_epi64(both, 1));
      }
      if (across) {
        alignas(64) static constexpr uint16_t order[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                           21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                           11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
        store(across + r / 2 * row + c, _mm512_permutexvar_epi16(_mm512_load_si512(order), both));
      }
    }
#endif
  }

  /// A(m, k) = block[m][k], and A(m, k) = block[k][m].
  Left<Unit> straight() const {
    if constexpr (pairs)
      return {along, row / 2, 1};
    else
      return {sums, row, 1};
  }
  Left<Unit> transposed() const {
    if constexpr (pairs)
      return {across, 1, row};
    else
      return {sums, 1, row};
  }

  /// Units of scratch for `along` or for `across`.
  static int64_t units(int64_t rows, int64_t row) { return pairs ? round_up(rows, 2) * row / 2 : 0; }
};

}  // namespace weft::tile
