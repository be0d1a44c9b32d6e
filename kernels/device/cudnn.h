// The door to cuDNN 9, through the calls that every version since 7 has: cudnnCreate, cudnnSetStream,
// cudnnGetErrorString, {Create, Set.., Destroy} of the descriptors of a tensor (SetTensor4dDescriptor), a filter
// (SetFilter4dDescriptor) and a convolution (SetConvolution2dDescriptor, SetConvolutionGroupCount,
// SetConvolutionMathType), and for each pass cudnnGetConvolution..WorkspaceSize and cudnnConvolution{Forward,
// BackwardData, BackwardFilter}. Images are NHWC, filters KRSC (CUDNN_TENSOR_NHWC), the type f32 or bf16, the
// computation f32 (CUDNN_FMA_MATH for f32: no TF32). The algorithms are fixed ones that give the same bits every time:
// IMPLICIT_PRECOMP_GEMM, BWD_DATA_ALGO_1, BWD_FILTER_ALGO_1.
#pragma once

#include "kernels/device/conv_cuda.h"

namespace weft {

/// Loads the library, or says why it cannot be.
void load_cudnn();

/// One pass over x [N, H, W, C], w [O, KH, KW, C / groups] and y [N, OH, OW, O]: the one that the pass computes is
/// written. No bias, no activation.
void conv_cudnn(ConvPass pass, const Tensor& x, const Tensor& w, const Tensor& y, const ConvSizes& s);

}  // namespace weft
