// The loop of every elementwise op: out[i] = f(i), shared out over the threads.
#pragma once

#include <cstring>
#include <utility>

#include "kernels/device/parallel.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace weft {

/// From this many bytes on a result is written past the caches: it would not stay in them, and a plain store first
/// reads its line.
inline constexpr int64_t streaming_bytes = 16 << 20;

/// Copies a block that lies in the nearest cache to memory without reading what it overwrites. `to` is aligned to 16
/// bytes.
inline void stream_copy(void* to, const void* from, int64_t bytes) {
#ifdef __SSE2__
  const int64_t whole = bytes / 16;
  for (int64_t i = 0; i < whole; ++i) {
    _mm_stream_si128(static_cast<__m128i*>(to) + i, _mm_load_si128(static_cast<const __m128i*>(from) + i));
  }
  std::memcpy(static_cast<char*>(to) + whole * 16, static_cast<const char*>(from) + whole * 16, bytes - whole * 16);
#else
  std::memcpy(to, from, bytes);
#endif
}

/// Makes streamed stores visible before the threads meet.
inline void stream_fence() {
#ifdef __SSE2__
  _mm_sfence();
#endif
}

/// Calls write(buffer, begin, end), which sets buffer[j] = element begin + j, for blocks of [0, n) shared out over the
/// threads. `buffer` is out + begin, or for large results a block in the nearest cache, which is then streamed to out.
template <class Out, class Write> void write_blocks(Out* out, int64_t n, Write&& write) {
  constexpr int64_t block = 8192 / sizeof(Out), line = 64 / sizeof(Out);
  const bool stream =
      n * static_cast<int64_t>(sizeof(Out)) >= streaming_bytes && reinterpret_cast<uintptr_t>(out) % 64 == 0;
  parallel_for((n + line - 1) / line, elements_grain / line, [&](int64_t first, int64_t last) {
    const int64_t begin = first * line, end = std::min(n, last * line);
    if (!stream) return write(out + begin, begin, end);
    alignas(64) Out buffer[block];
    for (int64_t i = begin; i < end; i += block) {
      const int64_t stop = std::min(end, i + block);
      write(buffer, i, stop);
      stream_copy(out + i, buffer, (stop - i) * sizeof(Out));
    }
    stream_fence();
  });
}

/// out[i] = f(i) for i in [0, n). f must not depend on the order of its calls.
template <class Out, class F> void elementwise(Out* out, int64_t n, F f) {
  write_blocks(out, n, [f](Out* buffer, int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) buffer[i - begin] = f(i);
  });
}

}  // namespace weft
