// Fresh inputs for a case, and the comparison that a NaN cannot pass.
#pragma once

#include <string>

#include "op_check/op_case.h"
#include "tensor/philox.h"

namespace weft::op_check {

/// Inputs drawn once, held in f64 and exactly representable in `dtype` (or f32 for parameters), so that only the op's own error shows.
Tensors sample(const std::vector<Input>& inputs, DType dtype, Random& random);
/// Those inputs as the op takes them when it runs in `dtype` on `device`; floating ones are leaves if `grad`.
Tensors as_dtype(const Tensors& samples, const std::vector<Input>& inputs, DType dtype, bool grad, Device device = Device::cpu);

/// What rounding may leave of a 0 in the f64 truth.
inline constexpr double rounded_zero = 1e-15;

/// Half a unit of 1 in f32: the terms of a sum are of that size, also where it cancels to almost nothing.
inline constexpr double rounded_f32 = 0x1p-24;
/// Empty if |a - b| <= rtol (|b| + max |b|) holds or |a - b| < rounded for every element, else one line about the worst one.
std::string compare(const Tensor& a, const Tensor& truth, double rtol, double rounded = rounded_zero);

}  // namespace weft::op_check
