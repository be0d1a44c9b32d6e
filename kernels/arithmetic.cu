// y = f(a, b) with numpy's broadcasting, and f(x, c) with a number.
// Thread mapping: one thread takes 16 bytes of y, neighbours on the innermost joined axis, along which each input is
// dense or repeated; where a length or an address does not fit it takes one element. Napkin maths: 12 bytes an element
// in f32 without broadcasting, 8 where one input is small; 2^26 elements take 240 us or 160 us at 3.35 TB/s (H100). The
// divisions that find an element's place are 32-bit ones below 2^32 elements.
#include "kernels/device/broadcast.h"
#include "kernels/device/elementwise.cuh"

namespace weft {

namespace {

constexpr int block_size = 256;

template <BinaryOp op> __device__ float apply(float a, float b) {
  if constexpr (op == BinaryOp::plus) return a + b;
  if constexpr (op == BinaryOp::minus) return a - b;
  if constexpr (op == BinaryOp::times) return a * b;
  if constexpr (op == BinaryOp::over) return a / b;
  if constexpr (op == BinaryOp::minus_times) return -a * b;
  return -a / (b * b);
}
template <BinaryOp op> struct Apply {
  __device__ float operator()(float a, float b) const { return apply<op>(a, b); }
};

struct Offsets {
  int64_t a, b;
};

// Where element i of y takes its inputs.
template <class Index> __device__ Offsets offsets_of(const Pairing& p, Index i) {
  Offsets at{0, 0};
#pragma unroll
  for (int k = Shape::max_rank - 1; k > 0; --k) {
    if (k >= p.rank) continue;
    const Index extent = static_cast<Index>(p.extent[k]), rest = i / extent, here = i - rest * extent;
    at.a += here * p.a_stride[k], at.b += here * p.b_stride[k];
    i = rest;
  }
  return {at.a + i * p.a_stride[0], at.b + i * p.b_stride[0]};
}

// V elements of an input that is dense, or one for all of them.
template <int V, class T> __device__ Pack<T, V> load_or_repeat(const T* from, bool repeated) {
  if (!repeated) return Pack<T, V>::load(from);
  Pack<T, V> p;
#pragma unroll
  for (int k = 0; k < V; ++k) p.v[k] = *from;
  return p;
}

template <int V, BinaryOp op, class Ta, class Tb, class T>
__global__ void broadcast_elements(const Ta* a, const Tb* b, T* y, int64_t n, Pairing p, bool a_repeated,
                                   bool b_repeated) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * block_size + threadIdx.x) * V;
  if (i >= n) return;
  const Offsets at =
      n <= UINT32_MAX ? offsets_of(p, static_cast<uint32_t>(i)) : offsets_of(p, static_cast<uint64_t>(i));
  const auto pa = load_or_repeat<V>(a + at.a, a_repeated);
  const auto pb = load_or_repeat<V>(b + at.b, b_repeated);
  Pack<T, V> out;
#pragma unroll
  for (int k = 0; k < V; ++k) out.set(k, apply<op>(pa[k], pb[k]));
  out.store(y + i);
}

// Whether V neighbours of y are V neighbours of an input, or one of its elements, at an address that a pack may have.
template <int V, class T> bool fits(const T* x, const int64_t* stride, const Pairing& p) {
  if (p.extent[p.rank - 1] % V != 0 || reinterpret_cast<uintptr_t>(x) % (V * sizeof(T)) != 0) return false;
  for (int k = 0; k + 1 < p.rank; ++k) {
    if (stride[p.rank - 1] == 1 && stride[k] % V != 0) return false;
  }
  return true;
}

template <BinaryOp op, class Ta, class Tb, class T> void start(const Pairing& p, const Ta* a, const Tb* b, T* y) {
  const int64_t n = p.shape.numel(), last = p.rank - 1;
  if (p.rank == 1 && p.a_stride[0] == 1 && p.b_stride[0] == 1) return map_cuda("binary", Apply<op>{}, y, n, a, b);
  constexpr int V = std::min({widest<Ta>, widest<Tb>, widest<T>});
  const bool wide = fits<V>(a, p.a_stride, p) && fits<V>(b, p.b_stride, p) && fits_packs(y, 0);
  const bool a_repeated = p.a_stride[last] == 0, b_repeated = p.b_stride[last] == 0;
  if (wide) {
    launch("binary_broadcast", broadcast_elements<V, op, Ta, Tb, T>, grid_of(n, block_size * V), block_size, 0, a, b, y,
           n, p, a_repeated, b_repeated);
  } else {
    launch("binary_broadcast", broadcast_elements<1, op, Ta, Tb, T>, grid_of(n, block_size), block_size, 0, a, b, y, n,
           p, a_repeated, b_repeated);
  }
}

template <class F> void on_op(BinaryOp op, F&& f) {
  switch (op) {
    case BinaryOp::plus: return f.template operator()<BinaryOp::plus>();
    case BinaryOp::minus: return f.template operator()<BinaryOp::minus>();
    case BinaryOp::times: return f.template operator()<BinaryOp::times>();
    case BinaryOp::over: return f.template operator()<BinaryOp::over>();
    case BinaryOp::minus_times: return f.template operator()<BinaryOp::minus_times>();
    case BinaryOp::minus_over_square: return f.template operator()<BinaryOp::minus_over_square>();
  }
}

struct WithNumber {
  UnaryOp op;
  float c;
  __device__ float operator()(float x) const {
    if (op == UnaryOp::plus) return x + c;
    if (op == UnaryOp::times) return x * c;
    if (op == UnaryOp::under) return c / x;
    return -x;
  }
};

}  // namespace

// a, b and y are f32 or bf16: of one dtype, or y and perhaps b f32 beside bf16.
void binary_cuda(BinaryOp op, const Pairing& p, const Tensor& a, const Tensor& b, const Tensor& y) {
  if (y.numel() == 0) return;
  on_op(op, [&]<BinaryOp O> {
    on_float(a.dtype(), [&]<class T> {
      if (b.dtype() == a.dtype() && y.dtype() == a.dtype())
        return start<O>(p, elements<T>(a), elements<T>(b), elements<T>(y));
      if constexpr (!std::is_same_v<T, float>) {
        if (b.dtype() == a.dtype()) return start<O>(p, elements<T>(a), elements<T>(b), elements<float>(y));
        if constexpr (O == BinaryOp::times) {
          if (y.dtype() == a.dtype()) return start<O>(p, elements<T>(a), elements<float>(b), elements<T>(y));
          return start<O>(p, elements<T>(a), elements<float>(b), elements<float>(y));
        }
      }
    });
  });
}

void unary_cuda(UnaryOp op, const Tensor& x, const Tensor& y, double c) {
  on_float(x.dtype(), [&]<class T> {
    map_cuda("unary", WithNumber{op, static_cast<float>(c)}, elements<T>(y), y.numel(), elements<const T>(x));
  });
}

}  // namespace weft
