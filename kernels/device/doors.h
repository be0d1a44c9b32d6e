// The second door for products and convolutions on the cuda device: NVIDIA's libraries instead of our kernels.
#pragma once

#include <string>

namespace weft {

enum class GemmDoor { own, cublas };
enum class ConvDoor { own, cudnn };

/// "own" or "cublas", "own" or "cudnn"; for the whole program, from the next op on. The library is loaded at once;
/// where the build or the machine lacks it the error says so.
void choose_gemm(const std::string& name);
void choose_conv(const std::string& name);
GemmDoor gemm_door();
ConvDoor conv_door();

}  // namespace weft
