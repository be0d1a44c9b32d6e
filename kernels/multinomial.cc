// y[b, j] = the first k with u sum(p[b]) < p[b, 0] + .. + p[b, k], u uniform in [0, 1).  Sums in f64.
#include "kernels/multinomial.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/device/parallel.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

// kernels/multinomial.cu
void multinomial_cuda(const Tensor& p, const Tensor& y, const Tensor& seen, const PhiloxStream& stream);

namespace {

double uniform53(const PhiloxStream& stream, uint64_t i) {
  const auto words = stream.block(i / 2);
  const int pair = static_cast<int>(i % 2) * 2;
  return (static_cast<double>(words[pair] >> 5) * 0x1p26 + static_cast<double>(words[pair + 1] >> 6)) * 0x1p-53;
}

}  // namespace

Tensor multinomial(const Tensor& p, int64_t count, Random& random) {
  check(p.rank() == 2, "[multinomial] p must have 2 axes but has shape {}", p.shape());
  check(count >= 0, "[multinomial] count must be at least 0 but is {}", count);
  const int64_t B = p.dim(0), K = p.dim(1);
  Tensor y = Tensor::empty({B, count}, DType::i64, p.device());
  std::vector<double> seen(B, 0);  // the sum of a row, or its least weight if that is negative
  const PhiloxStream stream = random.reserve(2 * B * count);
  on_device("multinomial", p, [&]<class T> {
    parallel_for(B, std::max<int64_t>(1, elements_grain / std::max<int64_t>(K + count, 1)),
                 [&](int64_t begin, int64_t end) {
                   std::vector<double> sums(K);
                   for (int64_t b = begin; b < end; ++b) {
                     double sum = 0, least = 0;
                     for (int64_t k = 0; k < K; ++k) {
                       const double v = static_cast<double>(p.data<T>()[b * K + k]);
                       least = std::min(least, v);
                       sums[k] = sum += v;
                     }
                     seen[b] = least < 0 ? least : sum;
                     if (!(seen[b] > 0) || !std::isfinite(seen[b])) continue;
                     for (int64_t j = 0; j < count; ++j) {
                       const double at = uniform53(stream, b * count + j) * sum;
                       y.data<int64_t>()[b * count + j] = std::upper_bound(sums.begin(), sums.end(), at) - sums.begin();
                     }
                   }
                 });
  }, [&] {
    const Tensor seen_there = Tensor::empty({B}, DType::f64, Device::cuda);
    multinomial_cuda(p, y, seen_there, stream);
    seen = seen_there.to_doubles();
  });
  for (int64_t b = 0; b < B; ++b) {
    check(seen[b] > 0 && std::isfinite(seen[b]),
          "[multinomial] every weight must be at least 0 and their sum positive and finite but row {} has {} {}", b,
          seen[b] < 0 ? "a weight of" : "the sum", seen[b]);
  }
  return no_gradient("multinomial", y, "a draw is not differentiable");
}

}  // namespace weft
