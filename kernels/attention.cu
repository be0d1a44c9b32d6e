// The cuda half of attention: kernels/device/attention_kernel.cuh says how.
#include "kernels/device/attention_launch.cuh"

namespace weft {

namespace flash {

extern template void forward<float>(const Problem<float>&, float*, float*);
extern template void forward<__nv_bfloat16>(const Problem<__nv_bfloat16>&, __nv_bfloat16*, float*);
extern template void backward<float>(const Problem<float>&, const float*, const float*, const float*, float*, float*,
                                     float*, float*, float*);
extern template void backward<__nv_bfloat16>(const Problem<__nv_bfloat16>&, const __nv_bfloat16*, const __nv_bfloat16*,
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
void check_sizes(const Tensor& q, const Tensor& k) {
  check(q.dim(0) <= 65535 && q.dim(2) <= 65535 && q.dim(1) < (1 << 30) && k.dim(1) < (1 << 30) && q.dim(3) <= 4096,
        "[attention] at most 65535 batch elements and heads and 4096 elements a head fit device cuda but q is {}",
        q.shape());
}

}  // namespace

}  // namespace flash

void attention_forward_cuda(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                            const Tensor& y, const Tensor& lse) {
  flash::check_sizes(q, k);
  const Tensor key_ends = flash::key_ends_of(options.mask);
  on_float(q.dtype(), [&]<class T> {
    flash::forward(flash::problem_of<T>(q, k, v, options, key_ends), elements<T>(y), elements<float>(lse));
  });
}

void attention_backward_cuda(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                             const Tensor& y, const Tensor& lse, const Tensor& dy, const Tensors& gradients) {
  const Tensor key_ends = flash::key_ends_of(options.mask), delta = empty_like(lse);
  on_float(q.dtype(), [&]<class T> {
    const auto at = [&](size_t i) { return i < gradients.size() ? elements<T>(gradients[i]) : nullptr; };
    flash::backward(flash::problem_of<T>(q, k, v, options, key_ends), elements<T>(y), elements<T>(dy),
                    elements<float>(lse), elements<float>(delta), at(0), at(1), at(2), at(3));
  });
}

}  // namespace weft
