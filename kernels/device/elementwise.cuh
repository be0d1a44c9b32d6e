// The kernel of every elementwise op: y[i] = f(x[i], ..).
#pragma once

#include "kernels/device/vector.cuh"

namespace weft {

/// One thread takes V neighbouring elements, loaded and stored as one access an array; the thread at the end takes what
/// is left.
template <int V, class F, class Out, class... In> __global__ void map_elements(F f, Out* y, int64_t n, const In*... x) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * V;
  if (i + V <= n) {
    Pack<Out, V> out;
    [&](const auto&... p) {
#pragma unroll
      for (int k = 0; k < V; ++k) out.set(k, f(p[k]...));
    }(Pack<In, V>::load(x + i)...);
    out.store(y + i);
  } else {
    for (int64_t k = i; k < n; ++k) y[k] = from_float<Out>(f(to_float(x[k])...));
  }
}

/// Starts it. f is a functor of floats with a __device__ operator(); y and x may lie anywhere.
template <class F, class Out, class... In> void map_cuda(const char* name, F f, Out* y, int64_t n, const In*... x) {
  constexpr int V = std::min({widest<Out>, widest<In>...});
  constexpr int block = 256;
  const bool wide = fits_packs(y, 0) && (... && fits_packs(x, 0));
  if (wide) {
    launch(name, map_elements<V, F, Out, In...>, grid_of(n, block * V), block, 0, f, y, n, x...);
  } else {
    launch(name, map_elements<1, F, Out, In...>, grid_of(n, block), block, 0, f, y, n, x...);
  }
}

}  // namespace weft
