// Convolutions through cuDNN's stand-in: NHWC and NCHW, strides, padding, groups, forward and both gradients, bias and
// ReLU.
#include <cuda_bf16.h>
#include <cudnn.h>

#include <cmath>

#include "check.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define DNN(call) EXPECT((call) == CUDNN_STATUS_SUCCESS)

// Sizes of images (n, c, h, w) or filters (k, c, r, s), and values in either order.
struct Images {
  int n, c, h, w;
  bool last;
  std::vector<float> values;

  Images(int n, int c, int h, int w, bool last, int seed) : n(n), c(c), h(h), w(w), last(last), values(n * c * h * w) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>((i * 5 + seed * 11) % 13) / 4.0f - 1.5f;
  }
  size_t index(int i, int k, int y, int x) const {
    return last ? ((size_t(i) * h + y) * w + x) * c + k : ((size_t(i) * c + k) * h + y) * w + x;
  }
  cudnnTensorFormat_t format() const { return last ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW; }
};

struct Sizes {
  int n, c, h, w, k, r, pad, stride, groups;
};

void compare(const std::vector<float>& result, const std::vector<double>& want) {
  for (size_t i = 0; i < want.size(); ++i) EXPECT(std::abs(result[i] - want[i]) <= 1e-5 * (1 + std::abs(want[i])));
}

void check(cudnnHandle_t handle, const Sizes& s, bool last) {
  int out_h = (s.h + 2 * s.pad - s.r) / s.stride + 1, out_w = (s.w + 2 * s.pad - s.r) / s.stride + 1;
  Images x(s.n, s.c, s.h, s.w, last, 1), w(s.k, s.c / s.groups, s.r, s.r, last, 2), dy(s.n, s.k, out_h, out_w, last, 3);

  cudnnTensorDescriptor_t xd, yd, bias_d;
  cudnnFilterDescriptor_t wd;
  cudnnConvolutionDescriptor_t cd;
  cudnnActivationDescriptor_t relu;
  DNN(cudnnCreateTensorDescriptor(&xd));
  DNN(cudnnCreateTensorDescriptor(&yd));
  DNN(cudnnCreateTensorDescriptor(&bias_d));
  DNN(cudnnCreateFilterDescriptor(&wd));
  DNN(cudnnCreateConvolutionDescriptor(&cd));
  DNN(cudnnCreateActivationDescriptor(&relu));
  DNN(cudnnSetTensor4dDescriptor(xd, x.format(), CUDNN_DATA_FLOAT, x.n, x.c, x.h, x.w));
  DNN(cudnnSetTensor4dDescriptor(yd, dy.format(), CUDNN_DATA_FLOAT, dy.n, dy.c, dy.h, dy.w));
  DNN(cudnnSetTensor4dDescriptor(bias_d, dy.format(), CUDNN_DATA_FLOAT, 1, s.k, 1, 1));
  DNN(cudnnSetFilter4dDescriptor(wd, CUDNN_DATA_FLOAT, w.format(), w.n, w.c, w.h, w.w));
  DNN(cudnnSetConvolution2dDescriptor(cd, s.pad, s.pad, s.stride, s.stride, 1, 1, CUDNN_CROSS_CORRELATION,
                                      CUDNN_DATA_FLOAT));
  DNN(cudnnSetConvolutionGroupCount(cd, s.groups));
  DNN(cudnnSetConvolutionMathType(cd, CUDNN_FMA_MATH));
  DNN(cudnnSetActivationDescriptor(relu, CUDNN_ACTIVATION_RELU, CUDNN_PROPAGATE_NAN, 0));
  int n, c, h, width;
  DNN(cudnnGetConvolution2dForwardOutputDim(cd, xd, wd, &n, &c, &h, &width));
  EXPECT(n == s.n && c == s.k && h == out_h && width == out_w);

  std::vector<double> y(dy.values.size()), dx(x.values.size()), dw(w.values.size()), with_bias(y.size());
  int inputs = s.c / s.groups, outputs = s.k / s.groups;
  for (int i = 0; i < s.n; ++i)
    for (int k = 0; k < s.k; ++k)
      for (int p = 0; p < out_h; ++p)
        for (int q = 0; q < out_w; ++q) {
          size_t to = dy.index(i, k, p, q);
          for (int r = 0; r < s.r; ++r)
            for (int t = 0; t < s.r; ++t)
              for (int j = 0; j < inputs; ++j) {
                int row = p * s.stride + r - s.pad, column = q * s.stride + t - s.pad;
                if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
                size_t from = x.index(i, k / outputs * inputs + j, row, column), tap = w.index(k, j, r, t);
                y[to] += double(x.values[from]) * w.values[tap];
                dx[from] += double(dy.values[to]) * w.values[tap];
                dw[tap] += double(dy.values[to]) * x.values[from];
              }
          with_bias[to] = std::max(0.0, y[to] + 0.25 * k - 1);
        }

  std::vector<float> bias(s.k);
  for (int k = 0; k < s.k; ++k) bias[k] = 0.25f * k - 1;
  DeviceArray<float> d_x(x.values), d_w(w.values), d_dy(dy.values), d_bias(bias), d_y(y.size()), d_dx(dx.size()),
      d_dw(dw.size());
  const float one = 1, zero = 0;
  DNN(cudnnConvolutionForward(handle, &one, xd, d_x.data, wd, d_w.data, cd,
                              CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, nullptr, 0, &zero, yd, d_y.data));
  compare(d_y.host(), y);
  DNN(cudnnConvolutionBackwardData(handle, &one, wd, d_w.data, yd, d_dy.data, cd, CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
                                   nullptr, 0, &zero, xd, d_dx.data));
  compare(d_dx.host(), dx);
  DNN(cudnnConvolutionBackwardFilter(handle, &one, xd, d_x.data, yd, d_dy.data, cd, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1,
                                     nullptr, 0, &zero, wd, d_dw.data));
  compare(d_dw.host(), dw);
  DNN(cudnnConvolutionBiasActivationForward(handle, &one, xd, d_x.data, wd, d_w.data, cd,
                                            CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, nullptr, 0, &zero, yd,
                                            d_y.data, bias_d, d_bias.data, relu, yd, d_y.data));
  compare(d_y.host(), with_bias);

  // bf16 holds these inputs exactly.
  DNN(cudnnSetTensor4dDescriptor(xd, x.format(), CUDNN_DATA_BFLOAT16, x.n, x.c, x.h, x.w));
  DNN(cudnnSetTensor4dDescriptor(yd, dy.format(), CUDNN_DATA_BFLOAT16, dy.n, dy.c, dy.h, dy.w));
  DNN(cudnnSetFilter4dDescriptor(wd, CUDNN_DATA_BFLOAT16, w.format(), w.n, w.c, w.h, w.w));
  using bf16 = __nv_bfloat16;
  DeviceArray<bf16> b_x(std::vector<bf16>(x.values.begin(), x.values.end())),
      b_w(std::vector<bf16>(w.values.begin(), w.values.end()));
  DeviceArray<bf16> b_y(y.size());
  DNN(cudnnConvolutionForward(handle, &one, xd, b_x.data, wd, b_w.data, cd,
                              CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, nullptr, 0, &zero, yd, b_y.data));
  std::vector<bf16> rounded = b_y.host();
  for (size_t i = 0; i < y.size(); ++i) EXPECT(std::abs(float(rounded[i]) - y[i]) <= std::abs(y[i]) / 256);

  // Shapes that do not fit are told.
  DNN(cudnnSetConvolutionGroupCount(cd, s.groups + 1));
  EXPECT(cudnnConvolutionForward(handle, &one, xd, b_x.data, wd, b_w.data, cd,
                                 CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, nullptr, 0, &zero, yd,
                                 b_y.data) != CUDNN_STATUS_SUCCESS);
  DNN(cudnnDestroyTensorDescriptor(xd));
  DNN(cudnnDestroyTensorDescriptor(yd));
  DNN(cudnnDestroyTensorDescriptor(bias_d));
  DNN(cudnnDestroyFilterDescriptor(wd));
  DNN(cudnnDestroyConvolutionDescriptor(cd));
  DNN(cudnnDestroyActivationDescriptor(relu));
}

int main() {
  cudnnHandle_t handle;
  DNN(cudnnCreate(&handle));
  for (bool last : {true, false}) {
    check(handle, {2, 6, 9, 8, 10, 3, 1, 1, 1}, last);
    check(handle, {1, 8, 7, 7, 12, 3, 1, 2, 4}, last);
    check(handle, {3, 5, 6, 4, 3, 1, 0, 1, 1}, last);
    check(handle, {1, 3, 15, 15, 4, 7, 3, 2, 1}, last);
  }
  DNN(cudnnDestroy(handle));
  return ok();
}
