// From a run-time dtype to a C++ type, in the one visible branch that every op has.
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// Sums are taken in this type.
template <class T> using accumulator_t = std::conditional_t<std::is_same_v<T, double>, double, float>;
/// Parameters of norms stay in f32 beside bf16 activations.
template <class T> using parameter_t = accumulator_t<T>;
inline DType parameter_dtype(DType activation) { return activation == DType::f64 ? DType::f64 : DType::f32; }

/// Between any two element types; bf16 and f16 convert through float.
template <class To, class From> To convert(From value) {
  constexpr auto is_half = []<class T>(T*) { return std::is_same_v<T, bf16> || std::is_same_v<T, f16>; };
  if constexpr (is_half(static_cast<From*>(nullptr))) {
    return convert<To>(static_cast<float>(value));
  } else if constexpr (is_half(static_cast<To*>(nullptr))) {
    return To(static_cast<float>(value));
  } else {
    return static_cast<To>(value);
  }
}

/// Calls f<T>() with the type of `dtype`, any of the eight.
template <class F> void on_any_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32: return f.template operator()<float>();
    case DType::bf16: return f.template operator()<bf16>();
    case DType::f16: return f.template operator()<f16>();
    case DType::f64: return f.template operator()<double>();
    case DType::i32: return f.template operator()<int32_t>();
    case DType::i64: return f.template operator()<int64_t>();
    case DType::u8: return f.template operator()<uint8_t>();
    case DType::boolean: return f.template operator()<bool>();
  }
}

/// Runs `cpu`<T>() with T = float, bf16 or double, x's dtype, for an op that has no kernel on another device.
template <class Cpu> void on_device(const char* op, const Tensor& x, Cpu&& cpu) {
  check(x.device() == Device::cpu, "[{}] this build has no kernel for device {}", op, x.device());
  switch (x.dtype()) {
    case DType::f32: return cpu.template operator()<float>();
    case DType::bf16: return cpu.template operator()<bf16>();
    case DType::f64: return cpu.template operator()<double>();
    default: check(false, "[{}] the dtype must be f32, bf16 or f64 but is {}", op, x.dtype());
  }
}

/// An op's one branch on its device: `cpu`<T>() as above, or `cuda`(), which starts the kernels for x's dtype, f32 or bf16.
template <class Cpu, class Cuda> void on_device(const char* op, const Tensor& x, Cpu&& cpu, [[maybe_unused]] Cuda&& cuda) {
#ifdef WEFT_HAS_CUDA
  if (x.device() == Device::cuda) {
    check(x.dtype() == DType::f32 || x.dtype() == DType::bf16, "[{}] the dtype must be f32 or bf16 on device cuda but is {}", op, x.dtype());
    return cuda();
  }
#endif
  on_device(op, x, std::forward<Cpu>(cpu));
}

/// The same branch for an op that moves elements of any dtype: cpu() or cuda().
template <class Cpu, class Cuda> void on_place([[maybe_unused]] const Tensor& x, Cpu&& cpu, [[maybe_unused]] Cuda&& cuda) {
#ifdef WEFT_HAS_CUDA
  if (x.device() == Device::cuda) return cuda();
#endif
  cpu();
}

/// The inputs of one op must be of one dtype and on one device.
inline void check_same(const char* op, const Tensor& a, const Tensor& b) {
  check(a.defined() && b.defined(), "[{}] an input is undefined", op);
  check(a.dtype() == b.dtype(), "[{}] the dtypes must be equal but are {} and {}", op, a.dtype(), b.dtype());
  check(a.device() == b.device(), "[{}] the devices must be equal but are {} and {}", op, a.device(), b.device());
}

}  // namespace weft
