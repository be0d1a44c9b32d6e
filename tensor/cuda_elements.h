// What tensors and the tape themselves compute on the cuda device. Arguments are on it; shapes and dtypes were checked.
#pragma once

#include "tensor/tensor.h"

namespace weft {

/// Every element = value.
void fill_cuda(const Tensor& x, double value);
/// to[i] = from[i] in to's dtype, any of the eight to any of the eight.
void convert_cuda(const Tensor& from, const Tensor& to);
/// into[i] += g[i], each f32 or bf16.
void accumulate_cuda(const Tensor& into, const Tensor& g);

/// Sums over some axes of an array whose axes are kept or summed, outermost first; strides are in elements of the array.
struct AxisSums {
  struct Axes {
    int rank = 0;
    int64_t extent[Shape::max_rank] = {}, stride[Shape::max_rank] = {};
    int64_t count = 1;  // product of the extents
    void push_back(int64_t e, int64_t s) {
      extent[rank] = e, stride[rank] = s;
      ++rank;
      count *= e;
    }
  };
  Axes kept, summed;  // the result is dense over the kept axes
};

/// y = scale times the sums, taken in f32 in an order that depends on the sizes only. x and y: f32 or bf16, of one dtype.
void sum_axes_cuda(const Tensor& x, const Tensor& y, const AxisSums& axes, double scale = 1);
/// y[c] = the sum over r of x[r, c]. x [R, C], y [C].
void sum_rows_cuda(const Tensor& x, const Tensor& y);

}  // namespace weft
