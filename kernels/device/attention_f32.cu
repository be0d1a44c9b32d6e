#include "kernels/device/attention_f32.cuh"
#include "kernels/device/attention_launch.cuh"

namespace weft::flash {

template <> struct TileOf<float> { template <int D> using Of = AttentionTileF32<D>; };

template void forward<float>(const Call<float>&, float*, float*);
template void backward<float>(const Call<float>&, const float*, const float*, const float*, float*, float*, float*,
                              float*, float*);

}  // namespace weft::flash
