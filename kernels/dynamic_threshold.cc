// y = clamp(x, -s, s) / s, s = max(1, quantile(|x|)). Magnitudes are ranked by their bits, as the cuda half ranks them.
#include "kernels/dynamic_threshold.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernels/device/parallel.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

// kernels/dynamic_threshold.cu
void dynamic_threshold_cuda(const Tensor& x, const Tensor& y, int64_t rank, float rest);

namespace {

template <class T>
void threshold_row(const T* x, T* y, int64_t count, int64_t rank, double rest) {
  using A = accumulator_t<T>;
  using Bits = std::conditional_t<std::is_same_v<A, double>, uint64_t, uint32_t>;
  std::vector<Bits> magnitudes(count);
  for (int64_t i = 0; i < count; ++i) magnitudes[i] = std::bit_cast<Bits>(std::fabs(static_cast<A>(x[i])));
  const auto middle = magnitudes.begin() + rank;
  std::nth_element(magnitudes.begin(), middle, magnitudes.end());
  const A low = std::bit_cast<A>(*middle);
  const A high = rank + 1 < count ? std::bit_cast<A>(*std::min_element(middle + 1, magnitudes.end())) : low;
  const A quantile = low + static_cast<A>(rest) * (high - low), s = quantile < 1 ? A{1} : quantile;
  for (int64_t i = 0; i < count; ++i) {
    const A v = static_cast<A>(x[i]);
    y[i] = T((v < -s ? -s : v > s ? s : v) / s);
  }
}

}  // namespace

Tensor dynamic_threshold(const Tensor& x, double q) {
  check(x.defined() && x.rank() >= 2 && x.shape().product(1, x.rank()) > 0,
        "[dynamic_threshold] x must be [N, ..] with at least 1 element a sample but has shape {}", x.shape());
  check(q >= 0 && q <= 1, "[dynamic_threshold] the quantile must be in [0, 1] but is {}", q);
  const int64_t count = x.shape().product(1, x.rank());
  const double place = q * static_cast<double>(count - 1);
  const auto rank = static_cast<int64_t>(place);
  const double rest = place - static_cast<double>(rank);
  Tensor y = empty_like(x);
  on_device("dynamic_threshold", x, [&]<class T> {
    parallel_for(x.dim(0), 1, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        threshold_row(x.data<T>() + n * count, y.data<T>() + n * count, count, rank, rest);
      }
    });
  }, [&] { dynamic_threshold_cuda(x, y, rank, static_cast<float>(rest)); });
  return no_gradient("dynamic_threshold", y, "it is made for sampling");
}

}  // namespace weft
