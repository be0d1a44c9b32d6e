// The one way in which weft starts a kernel, and how a kernel's host function gets at a tensor's elements.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "tensor/cuda.h"
#include "tensor/tensor.h"

namespace weft {

/// Starts kernel<<<grid, block, shared>>>(arguments...) in weft's stream, named for profilers and errors. A grid with an empty axis
/// is nothing to do. More than 48 KiB of dynamic shared memory are asked for as CUDA wants it.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  cuda::LaunchScope scope(name);
  if (shared > 48 << 10) {
    cuda::check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)), name);
  }
  kernel<<<grid, block, shared, cuda::stream()>>>(static_cast<Parameters>(arguments)...);
  scope.success();
}

template <class T> constexpr T ceil_div(T n, T piece) { return (n + piece - 1) / piece; }

/// Blocks for n elements, `per_block` each.
inline dim3 grid_of(int64_t n, int64_t per_block) { return dim3(static_cast<unsigned>(ceil_div(n, per_block))); }

/// The elements of x on the device; T as in kernels (__nv_bfloat16 for bf16). Null for an undefined tensor.
template <class T> T* elements(const Tensor& x) { return static_cast<T*>(x.raw()); }

/// Calls f<T>() with T = float or __nv_bfloat16, the floating dtypes of the cuda device. on_device() has refused others.
template <class F> void on_float(DType dtype, F&& f) {
  if (dtype == DType::f32) {
    f.template operator()<float>();
  } else {
    f.template operator()<__nv_bfloat16>();
  }
}

}  // namespace weft
