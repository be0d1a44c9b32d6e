// What becomes of the sums of a product.
#pragma once

#include "kernels/activation.h"
#include "kernels/device/activation_math.cuh"

namespace weft {

/// All of x through the activation. The choice is made once, outside the unrolled loops.
template <int N> __device__ __forceinline__ void activate_all(Activation activation, float (&x)[N]) {
  const auto each = [&]<class Math>(Math) {
#pragma unroll
    for (int i = 0; i < N; ++i) x[i] = Math::value(x[i]);
  };
  switch (activation) {
    case Activation::none:
      return;
    case Activation::relu:
      return each(device::Relu());
    case Activation::gelu:
      return each(device::Gelu());
    case Activation::gelu_tanh:
      return each(device::GeluTanh());
    case Activation::silu:
      return each(device::Silu());
  }
}

/// Where rows of a plain result lie.
struct MatrixRows {
  int64_t step, batch_step;
  __device__ int64_t offset(int z, int row) const { return z * batch_step + row * step; }
};

/// What becomes of the sums: y = act(sum + bias + residual), or as they are into `partial`.
template <class T, class Rows> struct Result {
  T* y;
  const T* bias;      // [columns], or null
  const T* residual;  // laid out as y, or null
  float* partial;     // [batch x splits][rows][columns]: plain sums go here instead of y, unless null
  Activation activation;
  int rows, columns;
  bool vectors;  // y, residual and partial may be accessed 16 bytes at a time, columns is a multiple of 8
  Rows place;
  int64_t bias_step = 0;  // between the biases of the batch's matrices

  __device__ bool inside(int row, int column) const { return row < rows && column < columns; }
  __device__ float* partial_at(int z, int row, int column) const {
    return partial + (static_cast<int64_t>(z) * rows + row) * columns + column;
  }
};

}  // namespace weft
