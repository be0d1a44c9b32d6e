// Attention and embracement against plain loops written here: op_check's truth is the same code in f64, so it cannot
// see a wrong formula.
#include "kernels/attention.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/device/tile.h"
#include "kernels/embracement.h"
#include "tensor/philox.h"

using namespace weft;

namespace {

Tensor uniform(const Shape& shape, uint64_t seed) {
  const PhiloxStream stream{seed, 0};
  Tensor x = Tensor::empty(shape, DType::f64);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = 4.0 * stream.uniform(i) - 2;
  return x;
}

Tensor plain_attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  const int64_t B = q.dim(0), Tq = q.dim(1), Tk = k.dim(1), H = q.dim(2), D = q.dim(3);
  Tensor y = zeros_like(q);
  const auto at = [&](const Tensor& x, int64_t b, int64_t t, int64_t h) {
    return x.data<double>() + ((b * x.dim(1) + t) * H + h) * D;
  };
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t h = 0; h < H; ++h) {
      for (int64_t i = 0; i < Tq; ++i) {
        std::vector<double> weight(Tk);
        double sum = 0;
        for (int64_t j = 0; j < Tk; ++j) {
          if (options.mask && !options.mask.data<bool>()[b * Tk + j]) continue;
          if (options.causal && j > i) continue;
          double score = 0;
          for (int64_t d = 0; d < D; ++d) score += at(q, b, i, h)[d] * at(k, b, j, h)[d];
          score *= options.scale;
          if (options.bias) score += options.bias.data<double>()[(h * Tq + i) * Tk + j];
          sum += weight[j] = std::exp(score);
        }
        for (int64_t j = 0; j < Tk; ++j) {
          for (int64_t d = 0; sum > 0 && d < D; ++d) at(y, b, i, h)[d] += weight[j] / sum * at(v, b, j, h)[d];
        }
      }
    }
  }
  return y;
}

double largest_difference(const Tensor& a, const Tensor& b) {
  const auto x = a.to_doubles(), y = b.to_doubles();
  double most = 0;
  for (size_t i = 0; i < x.size(); ++i) most = std::isnan(x[i]) ? INFINITY : std::max(most, std::fabs(x[i] - y[i]));
  return most;
}

}  // namespace

TEST_CASE("attention is softmax(scale q k^T + bias) v over the keys that mask and causality leave") {
  for (const auto& [Tq, Tk, D] : {std::tuple{3, 5, 4}, {40, 40, 32}, {33, 600, 7}, {300, 300, 8}}) {
    for (int kind = 0; kind < 4; ++kind) {
      CAPTURE(Tq);
      CAPTURE(kind);
      const int64_t B = 3, H = 2;
      AttentionOptions options;
      options.scale = 0.3;
      options.causal = kind == 1 && Tq == Tk;
      if (kind >= 2) {
        options.mask = Tensor::zeros({B, Tk}, DType::boolean);
        // Element 0 has a prefix (kind 2) or every second key (kind 3), element 1 nothing, element 2 everything.
        for (int64_t j = 0; j < Tk; ++j) options.mask.data<bool>()[j] = kind == 2 ? j < Tk / 2 : j % 2 == 1;
        for (int64_t j = 0; j < Tk; ++j) options.mask.data<bool>()[2 * Tk + j] = true;
      }
      if (kind % 2) options.bias = uniform({H, Tq, Tk}, 4);
      const Tensor q = uniform({B, Tq, H, D}, 1), k = uniform({B, Tk, H, D}, 2), v = uniform({B, Tk, H, D}, 3);
      CHECK(largest_difference(attention(q, k, v, options), plain_attention(q, k, v, options)) < 1e-12);
    }
  }
}

TEST_CASE("the exponential of the weights stays within its stated error") {
  const auto exp_of = [](float x) { return tile::exp_below<float>(tile::Vector<float>{} + x)[0]; };
  double worst = 0;
  for (float x = -87; x < 88; x += 0.00137f) {
    const double truth = std::exp(static_cast<double>(x)), unit = std::ldexp(1.0, std::ilogb(truth) - 23);
    worst = std::max(worst, std::fabs(exp_of(x) - truth) / unit);
  }
  CHECK(worst < 2);
  CHECK(exp_of(-INFINITY) == 0);
  CHECK(exp_of(0) == 1);
  CHECK(std::isnan(exp_of(NAN)));
}

TEST_CASE("a NaN or an infinite score is not hidden") {
  for (double bad : {std::nan(""), static_cast<double>(INFINITY)}) {
    const Tensor q = Tensor::full({1, 2, 1, 4}, 1), k = Tensor::full({1, 3, 1, 4}, 1),
                 v = Tensor::full({1, 3, 1, 4}, 1);
    q.data<float>()[0] = static_cast<float>(bad);
    const auto y = attention(q, k, v).to_doubles();
    CHECK(std::isnan(y[0]));
    CHECK(y[4] == 1);
  }
}

TEST_CASE("embracement draws by the written rule, with the frequencies asked for") {
  const int64_t B = 2, K = 3, C = 20000;
  const Tensor docked = Tensor::empty({B, K, C}, DType::f32);
  for (int64_t i = 0; i < docked.numel(); ++i) docked.data<float>()[i] = static_cast<float>(i / C % K);
  const Tensor weights = Tensor::from(std::vector<float>{1, 2, 1, 0, 3, 1}, {B, K});
  Random random{11, 5};
  const std::vector<double> y = embracement(docked, weights, &random).to_doubles();
  CHECK(random.offset == 5 + B * C / 4);
  const PhiloxStream stream{11, 5};
  double count[2][3] = {};
  for (int64_t b = 0; b < B; ++b) {
    const float sums[2][3] = {{1, 3, 4}, {0, 3, 4}};
    for (int64_t c = 0; c < C; ++c) {
      const float u = stream.uniform(b * C + c) * 4;
      const int k = u < sums[b][0] ? 0 : u < sums[b][1] ? 1 : 2;
      REQUIRE(y[b * C + c] == k);
      ++count[b][k];
    }
  }
  CHECK(count[0][0] / C == doctest::Approx(0.25).epsilon(0.05));
  CHECK(count[0][1] / C == doctest::Approx(0.5).epsilon(0.05));
  CHECK(count[1][0] == 0);
  CHECK(count[1][1] / C == doctest::Approx(0.75).epsilon(0.05));
  const std::vector<double> mean = embracement(docked, weights, nullptr, {true}).to_doubles();
  CHECK(mean[0] == doctest::Approx(1));
  CHECK(mean[C] == doctest::Approx(1.25));
}
