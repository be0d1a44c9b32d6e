#include "kernels/device/gemm_product.cuh"

namespace weft {

template void product<float>(const Gemm&);

}  // namespace weft
