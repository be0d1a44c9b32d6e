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
#include <type_traits>

namespace weft {

/// A matrix with any steps between its rows and columns; one of the steps is 1.
template <class T> struct StridedMatrix {
  const T* data;
  int64_t row_step, k_step, batch_step;
  int rows, depth;

  __device__ void select(int z) { data += z * batch_step; }
};

/// The same as an operand: whether its elements are neighbours along k or along r is known when the kernel is compiled.
template <class T, bool KContiguous> struct MatrixOperand {
  using Element = T;
  using Row = const T*;
  using Col = std::conditional_t<KContiguous, int, int64_t>;

  const T* data;
  int64_t batch_step;
  int step;  // along the other axis
  int rows, depth;

  __device__ void select(int z) { data += z * batch_step; }
  __device__ Row row(int r) const { return r < rows ? data + (KContiguous ? times_step(r) : r) : nullptr; }
  __device__ Col col(int k) const { return k < depth ? static_cast<Col>(KContiguous ? k : times_step(k)) : -1; }
  __device__ const T* at(Row row, Col col) const { return row && col >= 0 ? row + col : nullptr; }

 private:
  __device__ int64_t times_step(int i) const { return static_cast<int64_t>(i) * step; }
};

}  // namespace weft
