// The loop of every elementwise op: out[i] = f(i), shared out over the threads.
#pragma once

#include <type_traits>
#include <utility>

#include "kernels/device/parallel.h"
#include "kernels/device/rows.h"
#include "kernels/device/stream.h"

namespace weft {

/// Calls write(buffer, begin, end), which sets buffer[j] = element begin + j, for blocks of [0, n) shared out over the
/// threads. `buffer` is out + begin, or for large results a block in the nearest cache, which is then streamed to out.
template <class Out, class Write> void write_blocks(Out* out, int64_t n, Write&& write) {
  constexpr int64_t block = 8192 / sizeof(Out), line = 64 / sizeof(Out);
  const bool stream = streams<Out>(n) && reinterpret_cast<uintptr_t>(out) % 64 == 0;
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

/// out[i] = f(i) for i in [0, n). f must not depend on the order of its calls. Where it returns the accumulator's type,
/// results are rounded in whole lines.
template <class Out, class F> void elementwise(Out* out, int64_t n, F f) {
  write_blocks(out, n, [f](Out* buffer, int64_t begin, int64_t end) {
    using Value = std::invoke_result_t<F, int64_t>;
    if constexpr (std::is_same_v<Value, Out>) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) buffer[i - begin] = f(i);
    } else {
      constexpr int64_t line = 64 / sizeof(Out), piece = 16 * line;
      alignas(64) Value values[piece];
      for (; begin < end; begin += piece, buffer += piece) {
        const int64_t count = std::min(piece, end - begin);
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) values[i] = f(begin + i);
        int64_t i = 0;
        for (; i + line <= count; i += line) write_line(buffer + i, values + i, false);
        for (; i < count; ++i) buffer[i] = Out(values[i]);
      }
    }
  });
}

}  // namespace weft
