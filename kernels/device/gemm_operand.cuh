// A factor of a product as the main loops see it: element (r, k), or nothing outside the matrix. r counts the rows of
// the first factor or the columns of the second one, k the products of a sum. Whatever has these members can be
// multiplied: plain matrices here, the patches of an image and packed weights in conv_operand.cuh.
//
//   using Element;                  float or __nv_bfloat16
//   using Row, Col;                 what is worth knowing of an r or a k: computed once, kept in registers
//   Row row(int r); Col col(int k); any r and k, also outside
//   const Element* at(Row, Col);    null where the element counts as zero
//   void select(int z);             moves to matrix z of the batch
#pragma once

#include <cstdint>

namespace weft {

/// A matrix with any steps between its rows and columns; one of the steps is 1.
template <class T> struct MatrixOperand {
  using Element = T;
  using Row = const T*;
  using Col = int64_t;

  const T* data;
  int64_t row_step, k_step, batch_step;
  int rows, depth;

  __device__ void select(int z) { data += z * batch_step; }
  __device__ Row row(int r) const { return r < rows ? data + r * row_step : nullptr; }
  __device__ Col col(int k) const { return k < depth ? k * k_step : -1; }
  __device__ const T* at(Row row, Col col) const { return row && col >= 0 ? row + col : nullptr; }
};

}  // namespace weft
