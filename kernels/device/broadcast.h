// What the two halves of arithmetic share: how the elements of two broadcast inputs meet, and what is computed of them.
#pragma once

#include "tensor/shape.h"

namespace weft {

/// The axes of y with neighbours joined where both inputs go on in step, outermost first. Strides are in elements, 0
/// where an input is repeated; those of the innermost axis are 0 or 1.
struct Pairing {
  Shape shape;  // of y
  int rank = 0;
  int64_t extent[Shape::max_rank] = {}, a_stride[Shape::max_rank] = {}, b_stride[Shape::max_rank] = {};
};

/// a + b, a - b, a * b, a / b, -a * b, -a / b^2.
enum class BinaryOp { plus, minus, times, over, minus_times, minus_over_square };
/// x + c, x * c, c / x, -x.
enum class UnaryOp { plus, times, under, minus };

}  // namespace weft
