// Rows of a tensor taken in and out of accumulator precision. A kernel reads a row once into scratch in the nearest cache, and
// hands what it computes to a RowWriter, so that bf16 is converted in whole lines whatever the length of a row.
#pragma once

#include <cstring>
#include <type_traits>
#include <vector>

#include "kernels/device/stream.h"
#include "tensor/dispatch.h"

// gcc 12's own intrinsics read an undefined vector on purpose.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

namespace weft {

/// Scratch rows are padded to this many elements, so that loops over them have no remainder: as many floats as a register
/// has, since gcc keeps vectors of several registers in memory.
#ifdef __AVX512F__
inline constexpr int64_t row_lanes = 16;
#else
inline constexpr int64_t row_lanes = 8;
#endif
inline int64_t padded(int64_t n) { return (n + row_lanes - 1) & -row_lanes; }

/// row_lanes elements as one vector. Sums are written with these: gcc ends a scalar loop's sum in as many additions, one after
/// another.
template <class A> struct LanesOf {
  typedef A type __attribute__((vector_size(row_lanes * sizeof(A)), aligned(alignof(A)), may_alias));
};
template <class A> using RowLanes = typename LanesOf<A>::type;
template <class A> const RowLanes<A>& row_vector(const A* from) { return *reinterpret_cast<const RowLanes<A>*>(from); }
template <class A> RowLanes<A>& row_vector(A* to) { return *reinterpret_cast<RowLanes<A>*>(to); }
/// 0, 1, 2, ..
template <class A> RowLanes<A> lane_numbers() {
  if constexpr (row_lanes == 16) return RowLanes<A>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  else return RowLanes<A>{0, 1, 2, 3, 4, 5, 6, 7};
}
template <class A, class Eight, class F> A fold_eight(const Eight& eight, F& f) {
  const auto four = f(__builtin_shufflevector(eight, eight, 0, 1, 2, 3), __builtin_shufflevector(eight, eight, 4, 5, 6, 7));
  const auto two = f(__builtin_shufflevector(four, four, 0, 1), __builtin_shufflevector(four, four, 2, 3));
  return f(two, __builtin_shufflevector(two, two, 1, 0))[0];
}
/// f over all lanes of v, in an order that is always the same.
template <class A, class F> A fold_lanes(const RowLanes<A>& v, F&& f) {
  if constexpr (sizeof(v) / sizeof(A) == 16) {
    return fold_eight<A>(f(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7),
                           __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15)), f);
  } else {
    return fold_eight<A>(v, f);
  }
}
template <class A> A lane_sum(const RowLanes<A>& v) {
  return fold_lanes<A>(v, [](const auto& a, const auto& b) { return a + b; });
}
template <class A> A lane_max(const RowLanes<A>& v) {
  return fold_lanes<A>(v, [](const auto& a, const auto& b) { return a > b ? a : b; });
}

/// The count of a vector that is full; a plain number for one at the end of a row.
using WholeLanes = std::integral_constant<int64_t, row_lanes>;

/// body(c, count) for every vector of a row of n elements: c = 0, row_lanes, .. is where it begins, count is WholeLanes or
/// what is left.
template <class Body> [[gnu::always_inline]] inline void each_lanes(int64_t n, Body&& body) {
  int64_t c = 0;
  for (; c + row_lanes <= n; c += row_lanes) body(c, WholeLanes());
  if (c < n) body(c, n - c);
}

/// row_lanes elements in accumulator precision.
template <class T, class A = accumulator_t<T>> [[gnu::always_inline]] inline RowLanes<A> load_lanes(const T* from, WholeLanes, A = 0) {
#ifdef __AVX512BW__
  if constexpr (std::is_same_v<T, bf16>) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))), 16));
  }
#endif
  if constexpr (std::is_same_v<T, A>) return row_vector(from);
#if defined(__AVX2__) && !defined(__AVX512BW__)
  if constexpr (std::is_same_v<T, bf16> && row_lanes == 8) {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))), 16));
  }
#endif
  RowLanes<A> v;
  for (int64_t l = 0; l < row_lanes; ++l) v[l] = static_cast<A>(from[l]);
  return v;
}

#if defined(__AVX2__) && !defined(__AVX512F__)
/// All bits of the first `count` of 8 words.
[[gnu::always_inline]] inline __m256i first_words(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

/// The first `count` of row_lanes elements, and `pad` for the others, which are not touched.
template <class T, class A = accumulator_t<T>>
[[gnu::always_inline]] inline RowLanes<A> load_lanes(const T* from, int64_t count, A pad = 0) {
#ifdef __AVX512BW__
  const auto mask = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (std::is_same_v<T, float>) return _mm512_mask_loadu_ps(_mm512_set1_ps(pad), mask, from);
  if constexpr (std::is_same_v<T, bf16>) {
    const __m512i halves = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from));
    return _mm512_mask_mov_ps(_mm512_set1_ps(pad), mask, _mm512_castsi512_ps(_mm512_slli_epi32(halves, 16)));
  }
#elif defined(__AVX2__) && !defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) {
    const __m256i mask = first_words(count);
    return _mm256_blendv_ps(_mm256_set1_ps(pad), _mm256_maskload_ps(from, mask), _mm256_castsi256_ps(mask));
  }
#endif
  RowLanes<A> v = RowLanes<A>{} + pad;
  for (int64_t l = 0; l < count; ++l) v[l] = static_cast<A>(from[l]);
  return v;
}

/// v with 0 for the lanes from `count` on.
template <class A> [[gnu::always_inline]] inline RowLanes<A> first_lanes(const RowLanes<A>& v, WholeLanes) { return v; }
template <class A> [[gnu::always_inline]] inline RowLanes<A> first_lanes(RowLanes<A> v, int64_t count) {
#ifdef __AVX512F__
  if constexpr (std::is_same_v<A, float>) return _mm512_maskz_mov_ps(static_cast<__mmask16>((1u << count) - 1), v);
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<A, float>) return _mm256_and_ps(v, _mm256_castsi256_ps(first_words(count)));
#endif
  for (int64_t l = count; l < row_lanes; ++l) v[l] = 0;
  return v;
}

/// Fetches the line of what is read soon, while other work is done; any address will do.
inline void prefetch(const void* at) { __builtin_prefetch(at); }

/// Copies 64 bytes, past the caches if `stream`; then `to` is aligned to 64 bytes.
inline void store_line(void* to, const void* from, bool stream) {
#ifdef __AVX512F__
  if (stream) return _mm512_stream_si512(static_cast<__m512i*>(to), _mm512_loadu_si512(from));
#elif defined __AVX__
  if (stream) {
    for (int half = 0; half < 2; ++half)
      _mm256_stream_si256(static_cast<__m256i*>(to) + half, _mm256_loadu_si256(static_cast<const __m256i*>(from) + half));
    return;
  }
#elif defined __SSE2__
  if (stream) return stream_copy(to, from, 64);
#endif
  std::memcpy(to, from, 64);
}

/// The elements of one line of 64 bytes: to[i] = T(from[i]).
template <class T> [[gnu::always_inline]] inline void write_line(T* to, const accumulator_t<T>* from, bool stream) {
  if constexpr (std::is_same_v<T, accumulator_t<T>>) return store_line(to, from, stream);
  constexpr int64_t line = 64 / sizeof(T);
#ifdef __AVX512BF16__
  if constexpr (std::is_same_v<T, bf16>) {
    const __m512 low = _mm512_loadu_ps(from), high = _mm512_loadu_ps(from + 16);
    // The instruction rounds as bf16(float) does, but takes subnormal numbers (class 0x20) for 0.
    if (_kortestz_mask16_u8(_mm512_fpclass_ps_mask(low, 0x20), _mm512_fpclass_ps_mask(high, 0x20))) [[likely]] {
      const __m512bh both = _mm512_cvtne2ps_pbh(high, low);
      return store_line(to, &both, stream);
    }
  }
#endif
  alignas(64) T rounded[line];
#pragma omp simd
  for (int64_t i = 0; i < line; ++i) rounded[i] = T(from[i]);
  store_line(to, rounded, stream);
}

/// Writes consecutive elements from `to` on, computed in accumulator precision; past the caches if `stream`. What was written is
/// in memory when the writer is gone. One a thread.
template <class T> class RowWriter {
 public:
  using A = accumulator_t<T>;

  RowWriter(T* to, bool stream) : stream_(stream) {
    const auto past = stream ? static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) % 64 / sizeof(T)) : 0;
    to_ = to - past;
    begin_ = fill_ = past;
  }
  RowWriter(const RowWriter&) = delete;
  RowWriter& operator=(const RowWriter&) = delete;
  ~RowWriter() {
    write_all();
    if (stream_) stream_fence();
  }

  /// The next n elements are f(0) .. f(n - 1).
  template <class F> void write(int64_t n, F&& f) { append(n, n, f); }

  /// The next n elements are the vectors f(c, count) of each_lanes().
  template <class F> void write_lanes(int64_t n, F&& f) {
    int64_t c = 0;
    if (fill_ == 0) {
      T* to = to_;
      for (const bool stream = stream_; c + step <= n; c += step) {
        alignas(64) RowLanes<A> v[step / row_lanes];
#pragma GCC unroll 4
        for (int64_t i = 0; i < step; i += row_lanes) v[i / row_lanes] = f(c + i, WholeLanes());
#pragma GCC unroll 2
        for (int64_t i = 0; i < step; i += line) write_line(to + c + i, reinterpret_cast<const A*>(v) + i, stream);
      }
      to_ += c;
    }
    each_lanes(n - c, [&](int64_t i, auto count) {
      row_vector(block_ + fill_) = f(c + i, count);
      fill_ += count;
      if (fill_ >= size / 2) write_lines();
    });
    if (!stream_) write_all();
  }

  /// The same as write(), but f may be called for up to padded(n).
  template <class F> void write_padded(int64_t n, F&& f) { append(n, padded(n), f); }

 private:
  static constexpr int64_t line = 64 / sizeof(T), step = std::max(line, row_lanes), size = 1024;

  template <class F> void append(int64_t n, int64_t calls, F& f) {
    for (int64_t done = 0; done < n;) {
      const int64_t room = (size - fill_) & -row_lanes, count = std::min(room, calls - done);
      A* at = block_ + fill_;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) at[i] = f(done + i);
      fill_ += std::min(count, n - done);
      done += count;
      if (size - fill_ < size / 2) write_lines();
    }
  }

  void write_all() {
    write_lines();
    if (fill_ > begin_) write_part(begin_, fill_);
    to_ += fill_;
    begin_ = fill_ = 0;
  }

  void write_lines() {
    const int64_t whole = fill_ / line * line;
    for (int64_t i = 0; i < whole; i += line) {
      if (i < begin_) {
        write_part(begin_, line);
      } else {
        write_line(to_ + i, block_ + i, stream_);
      }
    }
    if (whole == 0) return;
    std::memcpy(block_, block_ + whole, line * sizeof(A));
    to_ += whole;
    fill_ -= whole;
    begin_ = 0;
  }

  // Of the first line only.
  void write_part(int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to_[i] = T(block_[i]);
  }

  alignas(64) A block_[size + 64] = {};
  T* to_;
  int64_t begin_, fill_;  // the elements of block_ that are waiting; block_[0] belongs at to_, which starts a line
  bool stream_;
};

/// row[i] = from[i] for i in [0, n), and `pad` up to padded(n).
template <class T, class A = accumulator_t<T>> void read_row(const T* from, A* row, int64_t n, A pad = 0) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) row[i] = static_cast<A>(from[i]);
  for (int64_t i = n; i < padded(n); ++i) row[i] = pad;
}

/// A row of parameters, padded with 0.
template <class A> std::vector<A> padded_copy(const A* from, int64_t n) {
  std::vector<A> result(padded(n));
  std::copy(from, from + n, result.begin());
  return result;
}

/// Short rows are taken together, so that the latency of one row's sum and root is spent on the others.
inline constexpr int64_t max_rows_together = 16;
inline int64_t rows_together(int64_t width) { return std::clamp<int64_t>(2048 / std::max<int64_t>(width, 1), 1, max_rows_together); }

}  // namespace weft
