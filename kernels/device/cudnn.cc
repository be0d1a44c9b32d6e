#include "kernels/device/cudnn.h"

#if defined(WEFT_HAS_CUDA) && __has_include(<cudnn.h>)

#include <cudnn.h>

#include "kernels/device/shared_library.h"
#include "tensor/cuda.h"

namespace weft {

namespace {

// The functions, by cuDNN's own names.
struct Cudnn {
#define WEFT_CUDNN(name) decltype(::name)* name;
#define WEFT_CUDNN_CALLS                                                                                          \
  WEFT_CUDNN(cudnnCreate)                                                                                         \
  WEFT_CUDNN(cudnnSetStream)                                                                                      \
  WEFT_CUDNN(cudnnGetErrorString) WEFT_CUDNN(cudnnCreateTensorDescriptor) WEFT_CUDNN(cudnnSetTensor4dDescriptor)  \
      WEFT_CUDNN(cudnnDestroyTensorDescriptor) WEFT_CUDNN(cudnnCreateFilterDescriptor)                            \
          WEFT_CUDNN(cudnnSetFilter4dDescriptor) WEFT_CUDNN(cudnnDestroyFilterDescriptor)                         \
              WEFT_CUDNN(cudnnCreateConvolutionDescriptor) WEFT_CUDNN(cudnnSetConvolution2dDescriptor)            \
                  WEFT_CUDNN(cudnnSetConvolutionGroupCount) WEFT_CUDNN(cudnnSetConvolutionMathType)               \
                      WEFT_CUDNN(cudnnDestroyConvolutionDescriptor)                                               \
                          WEFT_CUDNN(cudnnGetConvolutionForwardWorkspaceSize) WEFT_CUDNN(cudnnConvolutionForward) \
                              WEFT_CUDNN(cudnnGetConvolutionBackwardDataWorkspaceSize)                            \
                                  WEFT_CUDNN(cudnnConvolutionBackwardData)                                        \
                                      WEFT_CUDNN(cudnnGetConvolutionBackwardFilterWorkspaceSize)                  \
                                          WEFT_CUDNN(cudnnConvolutionBackwardFilter)
  WEFT_CUDNN_CALLS
#undef WEFT_CUDNN
  cudnnHandle_t handle = nullptr;

  Cudnn() {
    const SharedLibrary library("libcudnn.so." + std::to_string(CUDNN_MAJOR));
#define WEFT_CUDNN(name) library.get(name, #name);
    WEFT_CUDNN_CALLS
#undef WEFT_CUDNN
    succeed(cudnnCreate(&handle), "cudnnCreate");
    succeed(cudnnSetStream(handle, cuda::stream()), "cudnnSetStream");
  }
  void succeed(cudnnStatus_t status, const char* what) const {
    if (status != CUDNN_STATUS_SUCCESS)
      throw std::runtime_error(fmt::format("cuda: {}: {}", what, cudnnGetErrorString(status)));
  }
};

// Never destroyed: the driver may be gone when static objects are.
const Cudnn& cudnn() {
  static const auto* one = new Cudnn;
  return *one;
}

// What cuDNN wants to know of a convolution.
struct Descriptors {
  cudnnTensorDescriptor_t x, y;
  cudnnFilterDescriptor_t w;
  cudnnConvolutionDescriptor_t conv;

  Descriptors(DType dtype, const ConvSizes& s) {
    const Cudnn& c = cudnn();
    const cudnnDataType_t type = dtype == DType::f32 ? CUDNN_DATA_FLOAT : CUDNN_DATA_BFLOAT16;
    const auto size = [](int64_t n) { return static_cast<int>(n); };
    const auto image = [&](cudnnTensorDescriptor_t& d, int64_t channels, int64_t height, int64_t width) {
      c.succeed(c.cudnnCreateTensorDescriptor(&d), "cudnnCreateTensorDescriptor");
      c.succeed(c.cudnnSetTensor4dDescriptor(d, CUDNN_TENSOR_NHWC, type, size(s.n), size(channels), size(height),
                                             size(width)),
                "cudnnSetTensor4dDescriptor");
    };
    image(x, s.c, s.h, s.w);
    image(y, s.o, s.oh, s.ow);
    c.succeed(c.cudnnCreateFilterDescriptor(&w), "cudnnCreateFilterDescriptor");
    c.succeed(c.cudnnSetFilter4dDescriptor(w, type, CUDNN_TENSOR_NHWC, size(s.o), size(s.cg()), size(s.kh), size(s.kw)),
              "cudnnSetFilter4dDescriptor");
    c.succeed(c.cudnnCreateConvolutionDescriptor(&conv), "cudnnCreateConvolutionDescriptor");
    const int padding = size(s.padding), stride = size(s.stride);
    c.succeed(c.cudnnSetConvolution2dDescriptor(conv, padding, padding, stride, stride, 1, 1, CUDNN_CROSS_CORRELATION,
                                                CUDNN_DATA_FLOAT),
              "cudnnSetConvolution2dDescriptor");
    c.succeed(c.cudnnSetConvolutionGroupCount(conv, size(s.groups)), "cudnnSetConvolutionGroupCount");
    c.succeed(c.cudnnSetConvolutionMathType(conv, dtype == DType::f32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH),
              "cudnnSetConvolutionMathType");
  }
  ~Descriptors() {
    cudnn().cudnnDestroyTensorDescriptor(x);
    cudnn().cudnnDestroyTensorDescriptor(y);
    cudnn().cudnnDestroyFilterDescriptor(w);
    cudnn().cudnnDestroyConvolutionDescriptor(conv);
  }
  Descriptors(const Descriptors&) = delete;
};

}  // namespace

void load_cudnn() { cudnn(); }

void conv_cudnn(ConvPass pass, const Tensor& x, const Tensor& w, const Tensor& y, const ConvSizes& s) {
  const Cudnn& c = cudnn();
  const Descriptors d(x.dtype(), s);
  const float one = 1, zero = 0;
  size_t bytes = 0;
  const auto workspace = [&](cudnnStatus_t status) {
    c.succeed(status, "cudnn's workspace size");
    return Tensor::empty({static_cast<int64_t>(bytes)}, DType::u8, Device::cuda);
  };
  switch (pass) {
    case ConvPass::forward: {
      const auto algorithm = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
      const Tensor space =
          workspace(c.cudnnGetConvolutionForwardWorkspaceSize(c.handle, d.x, d.w, d.conv, d.y, algorithm, &bytes));
      return c.succeed(c.cudnnConvolutionForward(c.handle, &one, d.x, x.raw(), d.w, w.raw(), d.conv, algorithm,
                                                 space.raw(), bytes, &zero, d.y, y.raw()),
                       "cudnnConvolutionForward");
    }
    case ConvPass::data: {
      const auto algorithm = CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
      const Tensor space =
          workspace(c.cudnnGetConvolutionBackwardDataWorkspaceSize(c.handle, d.w, d.y, d.conv, d.x, algorithm, &bytes));
      return c.succeed(c.cudnnConvolutionBackwardData(c.handle, &one, d.w, w.raw(), d.y, y.raw(), d.conv, algorithm,
                                                      space.raw(), bytes, &zero, d.x, x.raw()),
                       "cudnnConvolutionBackwardData");
    }
    case ConvPass::weights: {
      const auto algorithm = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;
      const Tensor space = workspace(
          c.cudnnGetConvolutionBackwardFilterWorkspaceSize(c.handle, d.x, d.y, d.conv, d.w, algorithm, &bytes));
      return c.succeed(c.cudnnConvolutionBackwardFilter(c.handle, &one, d.x, x.raw(), d.y, y.raw(), d.conv, algorithm,
                                                        space.raw(), bytes, &zero, d.w, w.raw()),
                       "cudnnConvolutionBackwardFilter");
    }
  }
}

}  // namespace weft

#else

namespace weft {

void load_cudnn() { check(false, "[conv] this build has no cudnn: it was not found when weft was built"); }
void conv_cudnn(ConvPass, const Tensor&, const Tensor&, const Tensor&, const ConvSizes&) { load_cudnn(); }

}  // namespace weft

#endif
