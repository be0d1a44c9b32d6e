// The part of cuDNN that the virtual GPU has: two-dimensional convolutions of the legacy API, forward and backward.
// What is asked for and not there is refused by its name.
#include <cudnn.h>
#include <fmt/format.h>

#include <functional>

#include "vgpu/runtime/errors.h"
#include "vgpu/runtime/libraries/convolution.h"

using namespace vgpu;

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

struct cudnnContext {
  cudaStream_t stream = nullptr;
};
struct cudnnTensorStruct : ImageShape {};
struct cudnnFilterStruct : ImageShape {};
struct cudnnActivationStruct {
  cudnnActivationMode_t mode = CUDNN_ACTIVATION_IDENTITY;
};
struct cudnnConvolutionStruct {
  int pad_h = 0, pad_w = 0, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1, groups = 1;
  cudnnMathType_t math = CUDNN_DEFAULT_MATH;
};

namespace {

cudaDataType element_type(cudnnDataType_t type, const char* call) {
  switch (type) {
    case CUDNN_DATA_FLOAT: return CUDA_R_32F;
    case CUDNN_DATA_BFLOAT16: return CUDA_R_16BF;
    case CUDNN_DATA_HALF: return CUDA_R_16F;
    default: refuse(std::string(call) + ": data type " + std::to_string(type) + " is not supported");
  }
}

ImageShape make_shape(cudnnTensorFormat_t format, cudnnDataType_t type, int n, int c, int h, int w, const char* call) {
  if (format != CUDNN_TENSOR_NHWC && format != CUDNN_TENSOR_NCHW) {
    refuse(std::string(call) + ": format " + std::to_string(format) + " is not supported");
  }
  return {element_type(type, call), format == CUDNN_TENSOR_NHWC, n, c, h, w};
}

// Default math may use TF32 for f32 operands, as it does from compute capability 8.0 on.
Rounding rounding_of(const cudnnConvolutionStruct& descriptor, cudaDataType type) {
  if (descriptor.math == CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION) {
    refuse("cudnnSetConvolutionMathType: CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION is not supported");
  }
  if (type != CUDA_R_32F || descriptor.math == CUDNN_FMA_MATH) return Rounding::none;
  return Rounding::tf32;
}

Convolution make_convolution(const cudnnConvolutionStruct& d, const ImageShape& x, const ImageShape& w,
                             const ImageShape& y) {
  return {d.pad_h, d.pad_w, d.stride_h, d.stride_w, d.dilation_h, d.dilation_w, d.groups, x, w, y};
}

std::string describe(const char* call, const Convolution& c) {
  auto list = [](const ImageShape& s) { return fmt::format("[{} {} {} {}]", s.n, s.h, s.w, s.c); };
  return fmt::format("{} {} * {}", call, list(c.x), list(c.w));
}

// Puts a convolution on the stream: result = alpha * compute(operands) + beta * result.
cudnnStatus_t submit(cudnnHandle_t handle, const char* call, const Convolution& convolution, Rounding rounding,
                     std::vector<VgpuRange> reads, const ImageShape& result, void* to, float beta,
                     std::function<void()> compute) {
  if (!handle) return CUDNN_STATUS_NOT_INITIALIZED;
  if (!convolution.valid()) return CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH;
  if (beta != 0) reads.push_back(result.range(to));
  LibraryCall described{describe(call, convolution),
                        std::move(reads),
                        {result.range(to)},
                        convolution.flop(),
                        rate_of_f16(convolution.x.type, rounding)};
  return library_call(handle->stream, described, std::move(compute)) == cudaSuccess ? CUDNN_STATUS_SUCCESS
                                                                                    : CUDNN_STATUS_EXECUTION_FAILED;
}

float scalar(const void* value) { return *static_cast<const float*>(value); }

template <class Performance, class Algorithm>
cudnnStatus_t one_algorithm(Algorithm algorithm, int requested, int* returned, Performance* results) {
  if (requested < 1 || !returned || !results) return CUDNN_STATUS_BAD_PARAM;
  *returned = 1;
  results[0] = {};
  results[0].algo = algorithm;
  results[0].status = CUDNN_STATUS_SUCCESS;
  results[0].determinism = CUDNN_DETERMINISTIC;
  results[0].mathType = CUDNN_DEFAULT_MATH;
  return CUDNN_STATUS_SUCCESS;
}

template <class T>
cudnnStatus_t create(T** object) {
  if (!object) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  *object = new T;
  return CUDNN_STATUS_SUCCESS;
}

template <class T>
cudnnStatus_t destroy(T* object) {
  delete object;
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace

extern "C" {

size_t cudnnGetVersion(void) { return CUDNN_VERSION; }
size_t cudnnGetCudartVersion(void) { return 13000; }

const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_BAD_PARAM_NULL_POINTER: return "CUDNN_STATUS_BAD_PARAM_NULL_POINTER";
    case CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH: return "CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH";
    case CUDNN_STATUS_EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
    default: return "CUDNN_STATUS_UNKNOWN";
  }
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) { return create(handle); }
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return destroy(handle); }

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  if (!handle) return CUDNN_STATUS_NOT_INITIALIZED;
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream) {
  if (!handle) return CUDNN_STATUS_NOT_INITIALIZED;
  *stream = handle->stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* descriptor) { return create(descriptor); }
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t descriptor) { return destroy(descriptor); }

cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t descriptor, cudnnTensorFormat_t format,
                                         cudnnDataType_t type, int n, int c, int h, int w) {
  if (n < 1 || c < 1 || h < 1 || w < 1) return CUDNN_STATUS_BAD_PARAM;
  static_cast<ImageShape&>(*descriptor) = make_shape(format, type, n, c, h, w, "cudnnSetTensor4dDescriptor");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetTensor4dDescriptorEx(cudnnTensorDescriptor_t descriptor, cudnnDataType_t type, int n, int c,
                                           int h, int w, int n_stride, int c_stride, int h_stride, int w_stride) {
  bool last = c_stride == 1 && w_stride == c && h_stride == w * c && n_stride == h * w * c;
  bool first = w_stride == 1 && h_stride == w && c_stride == h * w && n_stride == c * h * w;
  if (!last && !first) refuse("cudnnSetTensor4dDescriptorEx: strides that are neither dense NHWC nor dense NCHW");
  return cudnnSetTensor4dDescriptor(descriptor, last ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW, type, n, c, h, w);
}

cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t* descriptor) { return create(descriptor); }
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t descriptor) { return destroy(descriptor); }

cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t descriptor, cudnnDataType_t type,
                                         cudnnTensorFormat_t format, int k, int c, int h, int w) {
  if (k < 1 || c < 1 || h < 1 || w < 1) return CUDNN_STATUS_BAD_PARAM;
  static_cast<ImageShape&>(*descriptor) = make_shape(format, type, k, c, h, w, "cudnnSetFilter4dDescriptor");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateActivationDescriptor(cudnnActivationDescriptor_t* descriptor) { return create(descriptor); }
cudnnStatus_t cudnnDestroyActivationDescriptor(cudnnActivationDescriptor_t descriptor) { return destroy(descriptor); }

cudnnStatus_t cudnnSetActivationDescriptor(cudnnActivationDescriptor_t descriptor, cudnnActivationMode_t mode,
                                           cudnnNanPropagation_t, double) {
  if (mode != CUDNN_ACTIVATION_RELU && mode != CUDNN_ACTIVATION_IDENTITY) {
    refuse("cudnnSetActivationDescriptor: only RELU and IDENTITY are supported");
  }
  descriptor->mode = mode;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t* descriptor) { return create(descriptor); }
cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t descriptor) { return destroy(descriptor); }

cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t d, int pad_h, int pad_w, int stride_h,
                                              int stride_w, int dilation_h, int dilation_w, cudnnConvolutionMode_t mode,
                                              cudnnDataType_t compute) {
  if (pad_h < 0 || pad_w < 0 || stride_h < 1 || stride_w < 1 || dilation_h < 1 || dilation_w < 1) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  if (mode != CUDNN_CROSS_CORRELATION)
    refuse("cudnnSetConvolution2dDescriptor: only CUDNN_CROSS_CORRELATION is supported");
  if (compute != CUDNN_DATA_FLOAT)
    refuse("cudnnSetConvolution2dDescriptor: only CUDNN_DATA_FLOAT is a supported compute type");
  *d = {pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, d->groups, d->math};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t descriptor, int groups) {
  if (groups < 1) return CUDNN_STATUS_BAD_PARAM;
  descriptor->groups = groups;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t descriptor, cudnnMathType_t math) {
  descriptor->math = math;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolution2dForwardOutputDim(const cudnnConvolutionDescriptor_t d,
                                                    const cudnnTensorDescriptor_t x, const cudnnFilterDescriptor_t w,
                                                    int* n, int* c, int* h, int* width) {
  Convolution convolution = make_convolution(*d, *x, *w, *x);
  *n = static_cast<int>(x->n);
  *c = static_cast<int>(w->n);
  *h = static_cast<int>(convolution.output_height());
  *width = static_cast<int>(convolution.output_width());
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t, const cudnnTensorDescriptor_t,
                                                     const cudnnFilterDescriptor_t, const cudnnConvolutionDescriptor_t,
                                                     const cudnnTensorDescriptor_t, const int requested, int* returned,
                                                     cudnnConvolutionFwdAlgoPerf_t* results) {
  return one_algorithm(CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, requested, returned, results);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t, const cudnnFilterDescriptor_t,
                                                          const cudnnTensorDescriptor_t,
                                                          const cudnnConvolutionDescriptor_t,
                                                          const cudnnTensorDescriptor_t, const int requested,
                                                          int* returned, cudnnConvolutionBwdDataAlgoPerf_t* results) {
  return one_algorithm(CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, requested, returned, results);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(
    cudnnHandle_t, const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t, const cudnnConvolutionDescriptor_t,
    const cudnnFilterDescriptor_t, const int requested, int* returned, cudnnConvolutionBwdFilterAlgoPerf_t* results) {
  return one_algorithm(CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, requested, returned, results);
}

// The host computes: no workspace is needed.
cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t, const cudnnTensorDescriptor_t,
                                                      const cudnnFilterDescriptor_t, const cudnnConvolutionDescriptor_t,
                                                      const cudnnTensorDescriptor_t, cudnnConvolutionFwdAlgo_t,
                                                      size_t* bytes) {
  *bytes = 0;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t, const cudnnFilterDescriptor_t,
                                                           const cudnnTensorDescriptor_t,
                                                           const cudnnConvolutionDescriptor_t,
                                                           const cudnnTensorDescriptor_t, cudnnConvolutionBwdDataAlgo_t,
                                                           size_t* bytes) {
  *bytes = 0;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(cudnnHandle_t, const cudnnTensorDescriptor_t,
                                                             const cudnnTensorDescriptor_t,
                                                             const cudnnConvolutionDescriptor_t,
                                                             const cudnnFilterDescriptor_t,
                                                             cudnnConvolutionBwdFilterAlgo_t, size_t* bytes) {
  *bytes = 0;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void* alpha,
                                      const cudnnTensorDescriptor_t x_descriptor, const void* x,
                                      const cudnnFilterDescriptor_t w_descriptor, const void* w,
                                      const cudnnConvolutionDescriptor_t d, cudnnConvolutionFwdAlgo_t, void*, size_t,
                                      const void* beta, const cudnnTensorDescriptor_t y_descriptor, void* y) {
  Convolution c = make_convolution(*d, *x_descriptor, *w_descriptor, *y_descriptor);
  Rounding rounding = rounding_of(*d, c.x.type);
  float a = scalar(alpha), b = scalar(beta);
  return submit(handle, "cudnnConvolutionForward", c, rounding, {c.x.range(x), c.w.range(w)}, c.y, y, b,
                [=] { c.y.write(y, c.forward(c.x.read(x, rounding), c.w.read(w, rounding)), a, b); });
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void* alpha,
                                           const cudnnFilterDescriptor_t w_descriptor, const void* w,
                                           const cudnnTensorDescriptor_t dy_descriptor, const void* dy,
                                           const cudnnConvolutionDescriptor_t d, cudnnConvolutionBwdDataAlgo_t, void*,
                                           size_t, const void* beta, const cudnnTensorDescriptor_t dx_descriptor,
                                           void* dx) {
  Convolution c = make_convolution(*d, *dx_descriptor, *w_descriptor, *dy_descriptor);
  Rounding rounding = rounding_of(*d, c.x.type);
  float a = scalar(alpha), b = scalar(beta);
  return submit(handle, "cudnnConvolutionBackwardData", c, rounding, {c.w.range(w), c.y.range(dy)}, c.x, dx, b,
                [=] { c.x.write(dx, c.backward_data(c.w.read(w, rounding), c.y.read(dy, rounding)), a, b); });
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void* alpha,
                                             const cudnnTensorDescriptor_t x_descriptor, const void* x,
                                             const cudnnTensorDescriptor_t dy_descriptor, const void* dy,
                                             const cudnnConvolutionDescriptor_t d, cudnnConvolutionBwdFilterAlgo_t,
                                             void*, size_t, const void* beta,
                                             const cudnnFilterDescriptor_t dw_descriptor, void* dw) {
  Convolution c = make_convolution(*d, *x_descriptor, *dw_descriptor, *dy_descriptor);
  Rounding rounding = rounding_of(*d, c.x.type);
  float a = scalar(alpha), b = scalar(beta);
  return submit(handle, "cudnnConvolutionBackwardFilter", c, rounding, {c.x.range(x), c.y.range(dy)}, c.w, dw, b,
                [=] { c.w.write(dw, c.backward_filter(c.x.read(x, rounding), c.y.read(dy, rounding)), a, b); });
}

// y = activation(alpha1 * convolution + alpha2 * z + bias)
cudnnStatus_t cudnnConvolutionBiasActivationForward(
    cudnnHandle_t handle, const void* alpha1, const cudnnTensorDescriptor_t x_descriptor, const void* x,
    const cudnnFilterDescriptor_t w_descriptor, const void* w, const cudnnConvolutionDescriptor_t d,
    cudnnConvolutionFwdAlgo_t, void*, size_t, const void* alpha2, const cudnnTensorDescriptor_t z_descriptor,
    const void* z, const cudnnTensorDescriptor_t bias_descriptor, const void* bias,
    const cudnnActivationDescriptor_t activation, const cudnnTensorDescriptor_t y_descriptor, void* y) {
  Convolution c = make_convolution(*d, *x_descriptor, *w_descriptor, *y_descriptor);
  Rounding rounding = rounding_of(*d, c.x.type);
  float a1 = scalar(alpha1), a2 = scalar(alpha2);
  ImageShape bias_shape = *bias_descriptor, z_shape = z_descriptor ? *z_descriptor : c.y;
  if (bias_shape.count() != c.y.c || z_shape.count() != c.y.count()) return CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH;
  bool relu = activation->mode == CUDNN_ACTIVATION_RELU;
  std::vector<VgpuRange> reads{c.x.range(x), c.w.range(w), bias_shape.range(bias)};
  if (a2 != 0) reads.push_back(z_shape.range(z));
  return submit(handle, "cudnnConvolutionBiasActivationForward", c, rounding, std::move(reads), c.y, y, 0, [=] {
    std::vector<float> out = c.forward(c.x.read(x, rounding), c.w.read(w, rounding));
    std::vector<float> added = a2 != 0 ? z_shape.read(z, Rounding::none) : std::vector<float>();
    for (size_t i = 0; i < out.size(); ++i) {
      int64_t channel = static_cast<int64_t>(i) % c.y.c;
      float value = a1 * out[i] + (added.empty() ? 0 : a2 * added[i]) + load(bias, channel, bias_shape.type);
      out[i] = relu && value < 0 ? 0 : value;
    }
    c.y.write(y, out, 1, 0);
  });
}

}  // extern "C"
