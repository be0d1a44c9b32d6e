// The cuda half of attention: kernels/device/attention_kernel.cuh says how.
#include "kernels/device/attention_launch.cuh"

namespace weft {

namespace flash {

extern template void forward<float>(const Call<float>&, float*, float*);
extern template void forward<__nv_bfloat16>(const Call<__nv_bfloat16>&, __nv_bfloat16*, float*);
extern template void backward<float>(const Call<float>&, const float*, const float*, const float*, float*, float*,
                                     float*, float*, float*);
extern template void backward<__nv_bfloat16>(const Call<__nv_bfloat16>&, const __nv_bfloat16*, const __nv_bfloat16*,
                                             const float*, float*, __nv_bfloat16*, __nv_bfloat16*, __nv_bfloat16*,
                                             __nv_bfloat16*);

// One warp a batch element, lanes along the keys.
__global__ void key_ends_kernel(const bool* mask, int* key_ends, int B, int Tk) {
  const int b = blockIdx.x * blockDim.x / 32 + threadIdx.x / 32;
  if (b >= B) return;
  int end = 0;
  for (int j = threadIdx.x % 32; j < Tk; j += 32) {
    if (mask[static_cast<int64_t>(b) * Tk + j]) end = j + 1;
  }
  for (int step = 16; step > 0; step /= 2) end = max(end, __shfl_xor_sync(0xffffffffu, end, step));
  if (threadIdx.x % 32 == 0) key_ends[b] = end;
}

namespace {

Tensor key_ends_of(const Tensor& mask) {
  if (!mask) return {};
  const Tensor ends = Tensor::empty({mask.dim(0)}, DType::i32, Device::cuda);
  launch("attention_key_ends", key_ends_kernel, grid_of(mask.dim(0), 4), 128, 0, elements<bool>(mask),
         elements<int>(ends), static_cast<int>(mask.dim(0)), static_cast<int>(mask.dim(1)));
  return ends;
}

// B and H are axes of the grid.
template <class T> void check_sizes(const Call<T>& p) {
  check(p.B <= 65535 && p.H <= 65535 && p.Tq < (1 << 30) && p.Tk < (1 << 30) && p.D <= 4096,
        "[attention] at most 65535 batch elements and heads and 4096 elements a head fit device cuda but there are {}, "
        "{} and {}",
        p.B, p.H, p.D);
}

}  // namespace

}  // namespace flash

void attention_forward_cuda(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& offsets,
                            const AttentionOptions& options, const Tensor& y, const Tensor& lse) {
  const Tensor key_ends = flash::key_ends_of(options.mask), starts = offsets ? offsets.to(Device::cuda) : Tensor();
  on_float(q.dtype(), [&]<class T> {
    const auto call = flash::call_of<T>(q, k, v, starts, lse.dim(2), options, key_ends);
    flash::check_sizes(call);
    flash::forward(call, elements<T>(y), elements<float>(lse));
  });
}

void attention_backward_cuda(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& offsets,
                             const AttentionOptions& options, const Tensor& y, const Tensor& lse, const Tensor& dy,
                             const Tensors& gradients) {
  const Tensor key_ends = flash::key_ends_of(options.mask), starts = offsets ? offsets.to(Device::cuda) : Tensor(),
               delta = empty_like(lse);
  on_float(q.dtype(), [&]<class T> {
    const auto at = [&](size_t i) { return i < gradients.size() ? elements<T>(gradients[i]) : nullptr; };
    flash::backward(flash::call_of<T>(q, k, v, starts, lse.dim(2), options, key_ends), elements<T>(y),
                    elements<T>(dy), elements<float>(lse), elements<float>(delta), at(0), at(1), at(2), at(3));
  });
}

}  // namespace weft
