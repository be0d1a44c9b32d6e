// Writing a result past the caches where it is too large to be found there again: a plain store first reads
// the line that it overwrites, which costs a memory-bound loop a third of its speed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace weft {

/// Results of at least this many bytes are written past the caches.
inline constexpr int64_t stream_bytes = 16 << 20;
template <class T> bool streams(int64_t elements) { return elements * static_cast<int64_t>(sizeof(T)) >= stream_bytes; }

/// memcpy that does not bring `to` into the caches. Close a run of these with stream_fence().
inline void stream_copy(void* to, const void* from, int64_t bytes) {
#ifdef __SSE2__
  auto* out = static_cast<char*>(to);
  const auto* in = static_cast<const char*>(from);
  const int64_t head = std::min<int64_t>(bytes, static_cast<int64_t>(-reinterpret_cast<uintptr_t>(out) & 63));
  std::memcpy(out, in, head);
  int64_t i = head;
  for (; i + 64 <= bytes; i += 64) {
#ifdef __AVX512F__
    _mm512_stream_si512(reinterpret_cast<__m512i*>(out + i), _mm512_loadu_si512(in + i));
#else
    for (int64_t j = i; j < i + 64; j += 16) {
      _mm_stream_si128(reinterpret_cast<__m128i*>(out + j), _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + j)));
    }
#endif
  }
  std::memcpy(out + i, in + i, bytes - i);
#else
  std::memcpy(to, from, bytes);
#endif
}

/// Makes the streamed bytes visible to other threads as plain stores are; once at the end of a thread's share.
inline void stream_fence() {
#ifdef __SSE2__
  _mm_sfence();
#endif
}

}  // namespace weft
