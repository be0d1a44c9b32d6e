// 128-bit loads and stores. A kernel is written for V elements at a time; its host function takes V = 16 / sizeof(T) where every
// address and length allows it, else 1.
#pragma once

#include "kernels/device/launch.cuh"

namespace weft {

/// V neighbouring elements, moved as one access of V * sizeof(T) bytes (16 at most).
template <class T, int V> struct alignas(V * sizeof(T)) Pack {
  T v[V];
  __device__ static Pack load(const T* from) {
    Pack p;
    if constexpr (sizeof(Pack) == 16) {
      *reinterpret_cast<uint4*>(&p) = *reinterpret_cast<const uint4*>(from);
    } else {
      p = *reinterpret_cast<const Pack*>(from);
    }
    return p;
  }
  __device__ void store(T* to) const {
    if constexpr (sizeof(Pack) == 16) {
      *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(this);
    } else {
      *reinterpret_cast<Pack*>(to) = *this;
    }
  }
  __device__ float operator[](int i) const { return to_float(v[i]); }
  __device__ void set(int i, float x) { v[i] = from_float<T>(x); }
};

template <class T> inline constexpr int widest = 16 / static_cast<int>(sizeof(T));

/// Whether rows of `cols` elements that begin at `start` can be moved 16 bytes at a time. Null fits.
template <class T> bool fits_packs(const T* start, int64_t cols) {
  return reinterpret_cast<uintptr_t>(start) % 16 == 0 && cols % widest<T> == 0;
}

/// Calls f<V>() with the widest V if `wide`, else with 1.
template <class T, class F> void on_width(bool wide, F&& f) {
  if (wide) {
    f.template operator()<widest<T>>();
  } else {
    f.template operator()<1>();
  }
}

/// The same for rows beside numbers of f32, one a column: V is 4 at most, so that a warp's accesses to both are whole lines of memory.
template <class T, class F, class... P> void on_width_beside_f32(int64_t cols, F&& f, const P*... arrays) {
  const auto fits = [](const auto* start) { return reinterpret_cast<uintptr_t>(start) % (4 * sizeof(*start)) == 0; };
  if (cols % 4 == 0 && (... && fits(arrays))) {
    f.template operator()<4>();
  } else {
    f.template operator()<1>();
  }
}

}  // namespace weft
