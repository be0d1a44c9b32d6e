// The host side of attention, the same for f32 and bf16: attention_f32.cu and attention_bf16.cu hold one instance each.
#pragma once

#include "kernels/device/attention_cuda.h"
#include "kernels/device/attention_general.cuh"

namespace weft::flash {

template <class T> struct TileOf;

/// Calls f<Tile>() with the narrowest tile that holds rows of `width`.
template <class T, class F> void with_tile(int width, F&& f) {
  if (width <= 32) {
    f.template operator()<typename TileOf<T>::template Of<32>>();
  } else if (width <= 64) {
    f.template operator()<typename TileOf<T>::template Of<64>>();
  } else {
    f.template operator()<typename TileOf<T>::template Of<128>>();
  }
}

/// `offsets`, undefined or i64 [B + 1] on the device, says where the rows of packed texts begin, the longest of which
/// has `longest` rows.
template <class T>
Call<T> call_of(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& offsets, int64_t longest,
                      const AttentionOptions& o, const Tensor& key_ends) {
  Call<T> p{};
  p.q = elements<T>(q), p.k = elements<T>(k), p.v = elements<T>(v);
  p.mask = elements<bool>(o.mask), p.bias = elements<T>(o.bias), p.key_ends = elements<int>(key_ends);
  p.offsets = elements<int64_t>(offsets);
  p.B = static_cast<int>(offsets ? offsets.numel() - 1 : q.dim(0));
  p.Tq = static_cast<int>(offsets ? longest : q.dim(1)), p.Tk = static_cast<int>(offsets ? longest : k.dim(1));
  p.H = static_cast<int>(q.dim(-2)), p.D = static_cast<int>(q.dim(-1));
  p.scale = static_cast<float>(o.scale), p.causal = o.causal;
  p.paired_bias = o.bias.defined() && p.Tk % 2 == 0 && reinterpret_cast<uintptr_t>(o.bias.raw()) % (2 * sizeof(T)) == 0;
  return p;
}

/// Whether rows can be copied 16 bytes at a time into the widest tile.
template <class T> bool fits_tiles(int64_t D, std::initializer_list<const void*> data) {
  bool fits = D <= 128 && D % widest<T> == 0;
  for (const void* p : data) fits = fits && reinterpret_cast<uintptr_t>(p) % 16 == 0;
  return fits;
}

inline dim3 blocks(int64_t rows, int64_t per_block, int64_t H, int64_t B) {
  return dim3(static_cast<unsigned>(ceil_div(rows, per_block)), static_cast<unsigned>(H), static_cast<unsigned>(B));
}

constexpr int general_threads = 32 * general_warps;

template <class T, bool Packed> void forward_of(const Problem<T, Packed>& p, T* y, float* lse) {
  if (!fits_tiles<T>(p.D, {p.q, p.k, p.v, y})) {
    const int64_t rows = static_cast<int64_t>(p.B) * p.Tq * p.H;
    return launch("attention_general_forward", general_forward_kernel<T, Packed>, grid_of(rows, general_warps), general_threads,
                  sizeof(float) * general_warps * p.D, p, y, lse);
  }
  with_tile<T>(p.D, [&]<class Tile> {
    launch("attention_forward", forward_kernel<Tile, Packed>, blocks(p.Tq, Tile::own, p.H, p.B), Tile::threads,
           shared_bytes<Tile>(1, 2), p, y, lse);
  });
}

template <class T> void forward(const Call<T>& call, T* y, float* lse) {
  call.offsets ? forward_of(Problem<T, true>{call}, y, lse) : forward_of(Problem<T, false>{call}, y, lse);
}

/// The bias' gradient. Batch elements are shared out to groups of blocks where tiles alone leave the GPU idle.
template <class Tile, class T, bool Packed>
void bias_gradient(const Problem<T, Packed>& p, const Gradient<T>& g, T* dbias) {
  const int64_t rows = ceil_div(p.Tq, Tile::own), columns = ceil_div(p.Tk, Tile::others),
                tiles = std::max<int64_t>(rows * columns * p.H, 1);
  const int groups =
      static_cast<int>(std::clamp<int64_t>(2 * cuda::properties().multiprocessors / tiles, 1, std::max(p.B, 1)));
  const int64_t count = static_cast<int64_t>(p.H) * p.Tq * p.Tk;
  const Tensor partial = groups > 1 ? Tensor::empty({groups, count}, DType::f32, Device::cuda) : Tensor();
  launch("attention_bias_gradient", bias_kernel<Tile, Packed>,
         dim3(static_cast<unsigned>(rows), static_cast<unsigned>(columns), static_cast<unsigned>(groups * p.H)),
         Tile::threads, shared_bytes<Tile>(2, 2), p, g, dbias, elements<float>(partial), groups);
  if (groups > 1)
    launch("attention_bias_sum", bias_sum_kernel<T>, grid_of(count, 256), 256, 0, elements<float>(partial), dbias,
           count, groups);
}

template <class T, bool Packed>
void backward_of(const Problem<T, Packed>& p, const T* y, const T* dy, const float* lse, float* delta, T* dq, T* dk,
                 T* dv, T* dbias) {
  const int64_t rows = static_cast<int64_t>(p.B) * p.Tq * p.H;
  launch("attention_delta", delta_kernel<T, Packed>, grid_of(rows, 8), 256, 0, p, y, dy, delta);
  const Gradient<T> g{dy, lse, delta};
  if (!fits_tiles<T>(p.D, {p.q, p.k, p.v, dy, dq, dk, dv})) {
    const size_t shared = sizeof(float) * general_warps * 2 * p.D;
    T* const none = nullptr;
    if (dq)
      launch("attention_general_backward", general_backward_kernel<T, Packed, false>, grid_of(rows, general_warps),
             general_threads, shared, p, g, dq, none);
    if (dk || dv)
      launch("attention_general_backward", general_backward_kernel<T, Packed, true>,
             grid_of(static_cast<int64_t>(p.B) * p.Tk * p.H, general_warps), general_threads, shared, p, g, dk, dv);
    if (dbias)
      launch("attention_general_bias", general_bias_kernel<T, Packed>,
             grid_of(static_cast<int64_t>(p.H) * p.Tq * p.Tk, general_warps), general_threads, 0, p, g, dbias);
    return;
  }
  with_tile<T>(p.D, [&]<class Tile> {
    T* const none = nullptr;
    if (dq)
      launch("attention_backward_queries", backward_kernel<Tile, false, Packed>, blocks(p.Tq, Tile::own, p.H, p.B),
             Tile::threads, shared_bytes<Tile>(2, 2), p, g, dq, none);
    if (dk || dv)
      launch("attention_backward_keys", backward_kernel<Tile, true, Packed>, blocks(p.Tk, Tile::own, p.H, p.B), Tile::threads,
             shared_bytes<Tile>(2, 2), p, g, dk, dv);
    if (dbias) bias_gradient<Tile>(p, g, dbias);
  });
}

template <class T>
void backward(const Call<T>& call, const T* y, const T* dy, const float* lse, float* delta, T* dq, T* dk, T* dv,
              T* dbias) {
  const auto run = [&](const auto& p) { backward_of(p, y, dy, lse, delta, dq, dk, dv, dbias); };
  call.offsets ? run(Problem<T, true>{call}) : run(Problem<T, false>{call});
}

}  // namespace weft::flash
