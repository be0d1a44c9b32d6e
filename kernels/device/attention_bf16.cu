#include "kernels/device/attention_bf16.cuh"
#include "kernels/device/attention_launch.cuh"

namespace weft::flash {

template <> struct TileOf<__nv_bfloat16> { template <int D> using Of = AttentionTileBf16<D>; };

template void forward<__nv_bfloat16>(const Call<__nv_bfloat16>&, __nv_bfloat16*, float*);
template void backward<__nv_bfloat16>(const Call<__nv_bfloat16>&, const __nv_bfloat16*, const __nv_bfloat16*,
                                      const float*, float*, __nv_bfloat16*, __nv_bfloat16*, __nv_bfloat16*,
                                      __nv_bfloat16*);

}  // namespace weft::flash
