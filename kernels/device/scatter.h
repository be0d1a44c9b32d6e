// Rows added into rows by index: what undoes a lookup. The order of every sum is that of the indices, whatever the
// threads.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/device/copies.h"
#include "kernels/device/parallel.h"
#include "kernels/device/rows.h"
#include "tensor/dispatch.h"
#include "tensor/host_work.h"

namespace weft {

/// dx[v, :] = sum of dy[i, :] over all i with ids[i] == v, in the order of i. dx [V, D], ids [n] in [0, V), dy [n, D].
/// Sums are taken in f32 (f64) and rounded once; no thread shares a column with another.
template <class T> void scatter_add_rows(T* dx, int64_t V, int64_t D, const int64_t* ids, int64_t n, const T* dy) {
  using A = accumulator_t<T>;
  parallel_for(V * D, 1 << 18, [=](int64_t begin, int64_t end) {
    std::memset(static_cast<void*>(dx + begin), 0, (end - begin) * sizeof(T));
  });
  // Equal ids become neighbours, in their own order: counted, then put in their places.
  std::vector<int64_t> order(n), place(V + 1);
  for (int64_t i = 0; i < n; ++i) ++place[ids[i] + 1];
  for (int64_t v = 0; v < V; ++v) place[v + 1] += place[v];
  for (int64_t i = 0; i < n; ++i) order[place[ids[i]]++] = i;
  constexpr int64_t strip = 32;
  const int64_t strips = (D + strip - 1) / strip;
  parallel_for(strips, std::max<int64_t>(1, elements_grain / std::max<int64_t>(n * strip, 1)),
               [&](int64_t first, int64_t last) {
                 const int64_t from = first * strip, count = std::min(D, last * strip) - from;
                 std::vector<A> sum(padded(count));
                 for (int64_t i = 0; i < n;) {
                   const int64_t id = ids[order[i]];
                   std::fill(sum.begin(), sum.end(), A{0});
                   for (; i < n && ids[order[i]] == id; ++i) {
                     const T* row = dy + order[i] * D + from;
                     const T* next = dy + order[std::min(i + 1, n - 1)] * D + from;
                     each_lanes(count, [=, total = sum.data()](int64_t c, auto lanes) {
                       prefetch(next + c);
                       row_vector(total + c) += load_lanes(row + c, lanes);
                     });
                   }
                   constexpr int64_t line = 64 / sizeof(T);
                   T* out = dx + id * D + from;
                   int64_t c = 0;
                   for (; c + line <= count; c += line) write_line(out + c, sum.data() + c, false);
                   for (; c < count; ++c) out[c] = T(sum[c]);
                 }
               });
}

/// The bytes of row ids[i] of x [V, row_bytes] -> row i of y.
inline void copy_rows(const void* x, void* y, const int64_t* ids, int64_t n, int64_t row_bytes) {
  const bool stream = streams<char>(n * row_bytes) && row_bytes >= 64;
  parallel_for(n, std::max<int64_t>(1, (1 << 16) / std::max<int64_t>(row_bytes, 1)), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      // The row after next is fetched: the table's rows follow no order that the processor could guess.
      const char* next = static_cast<const char*>(x) + ids[std::min(i + 2, end - 1)] * row_bytes;
      for (int64_t at = 0; stream && at < std::min<int64_t>(row_bytes, 4096); at += 64) prefetch(next + at);
      const char* from = static_cast<const char*>(x) + ids[i] * row_bytes;
      char* to = static_cast<char*>(y) + i * row_bytes;
      if (stream) {
        stream_copy(to, from, row_bytes);
      } else {
        std::memcpy(to, from, row_bytes);
      }
    }
    if (stream) stream_fence();
  });
}

/// Indices that were checked, on the host and on the device of what they point into.
struct Ids {
  Tensor host, near;
};

/// Every id must lie in [0, V); the error says which does not. Ids may be on the cpu whatever `device` is, which spares
/// a wait for them. `op` is a literal.
inline Ids checked_ids(const char* op, const Tensor& ids, int64_t V, Device device) {
  check(ids.defined() && ids.dtype() == DType::i64, "[{}] the ids must be i64 but are {}", op,
        ids.defined() ? name_of(ids.dtype()) : "undefined");
  const Tensor host = ids.detach().to(Device::cpu);
  on_each_launch([host, op, V] {
    const int64_t* id = host.data<int64_t>();
    for (int64_t i = 0; i < host.numel(); ++i) {
      check(id[i] >= 0 && id[i] < V, "[{}] every id must lie in [0, {}) but number {} is {}", op, V, i, id[i]);
    }
  });
  return {host, ids.detach().to(device)};
}

/// Row ids[i] of x -> row i of y, rows of `row_bytes`.
inline void look_up_rows(const Tensor& x, const Tensor& y, const Ids& ids, int64_t row_bytes) {
  const int64_t n = ids.host.numel();
  on_place(x, [&] { copy_rows(x.raw(), y.raw(), ids.host.data<int64_t>(), n, row_bytes); },
           [&] { copy_rows_cuda(x.raw(), y.raw(), static_cast<const int64_t*>(ids.near.raw()), n, row_bytes); });
}

/// scatter_add_rows() on the device of dy.
inline void scatter_add(const char* op, const Tensor& dx, int64_t V, int64_t D, const Ids& ids, const Tensor& dy) {
  const int64_t* id = ids.host.data<int64_t>();
  const int64_t n = ids.host.numel();
  on_device(op, dy, [&]<class T> { scatter_add_rows(dx.data<T>(), V, D, id, n, dy.data<T>()); },
            [&] { scatter_add_rows_cuda(dx, V, D, ids.host, dy); });
}

}  // namespace weft
