#include "kernels/device/gemm_product.cuh"

namespace weft {

template void product<__nv_bfloat16>(const Gemm&);

}  // namespace weft
