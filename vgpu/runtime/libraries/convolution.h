#pragma once

#include <cstdint>
#include <vector>

#include "vgpu/runtime/library_call.h"
#include "vgpu/runtime/libraries/elements.h"

namespace vgpu {

/// N images of C channels or, for a filter, N outputs of C inputs each; dense, channels last (NHWC, KRSC) or first
/// (NCHW, KCRS).
struct ImageShape {
  cudaDataType type = CUDA_R_32F;
  bool channels_last = true;
  int64_t n = 0, c = 0, h = 0, w = 0;

  int64_t count() const { return n * c * h * w; }
  size_t bytes() const { return static_cast<size_t>(count()) * element_bytes(type); }
  VgpuRange range(const void* data) const { return {data, bytes(), bytes(), 1}; }
  /// As f32, channels last.
  std::vector<float> read(const void* data, Rounding rounding) const;
  /// data = alpha * values + beta * data; `values` as read() gives them.
  void write(void* data, const std::vector<float>& values, float alpha, float beta) const;
};

/// A two-dimensional cross-correlation: y[n,p,q,k] = sum over r,s,c of x[n, p*stride+r*dilation-pad, ..., c] *
/// w[k,r,s,c].
struct Convolution {
  int64_t pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, groups;
  ImageShape x, w, y;

  int64_t output_height() const { return output(x.h, w.h, pad_h, stride_h, dilation_h); }
  int64_t output_width() const { return output(x.w, w.w, pad_w, stride_w, dilation_w); }
  /// The shapes fit each other.
  bool valid() const;
  double flop() const;

  // All operands and results as ImageShape::read gives them; sums are taken in f32.
  std::vector<float> forward(const std::vector<float>& x, const std::vector<float>& w) const;
  std::vector<float> backward_data(const std::vector<float>& w, const std::vector<float>& dy) const;
  std::vector<float> backward_filter(const std::vector<float>& x, const std::vector<float>& dy) const;

 private:
  static int64_t output(int64_t in, int64_t filter, int64_t pad, int64_t stride, int64_t dilation) {
    return (in + 2 * pad - dilation * (filter - 1) - 1) / stride + 1;
  }
  // Calls visit(p, q, r, s, row, column) for every place of the filter that lies on the image.
  template <class Visit>
  void for_each_tap(Visit&& visit) const;
};

}  // namespace vgpu
