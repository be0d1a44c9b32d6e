#include "models/text_pooling.h"

#include <algorithm>

#include "kernels/arithmetic.h"
#include "kernels/cast.h"
#include "kernels/reduce.h"
#include "tensor/host_work.h"

namespace weft {

Tensor pool_text(const Tensor& hidden, const Tensor& mask, TextPooling pooling) {
  const int64_t B = hidden.dim(0), T = hidden.dim(1), D = hidden.dim(2);
  const DType dtype = hidden.dtype();
  const Tensor host_mask = mask.to(Device::cpu);
  const auto as_numbers = [=] { return cast(host_mask, dtype).reshape({B, T, 1}); };
  const Tensor kept = mul(hidden, from_host(hidden.device(), {host_mask}, as_numbers));
  if (pooling == TextPooling::flatten) return kept.reshape({B, T * D});
  // An empty text has no token to average; dividing by 1 leaves its zeros.
  const auto share_of_token = [=] {
    const Tensor share = Tensor::empty({B, 1}, DType::f64);
    for (int64_t b = 0; b < B; ++b) {
      const bool* row = host_mask.data<bool>() + b * T;
      share.data<double>()[b] = 1.0 / static_cast<double>(std::max<int64_t>(1, std::count(row, row + T, true)));
    }
    return cast(share, dtype);
  };
  return mul(sum(kept, 1), from_host(hidden.device(), {host_mask}, share_of_token));
}

}  // namespace weft
