// The norms and cross_entropy in f64 against their definitions written out: op_check compares a room's types with each other, so a
// forward pass that is wrong in all of them alike, and its matching gradient, show only here.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>

#include "kernels/batch_norm.h"
#include "kernels/cross_entropy.h"
#include "kernels/group_norm.h"
#include "kernels/layer_norm.h"
#include "kernels/rms_norm.h"
#include "kernels/softmax.h"
#include "tensor/autograd.h"
#include "tensor/philox.h"

using namespace weft;

namespace {

Tensor random_tensor(const Shape& shape, Random& random, double low = -2, double high = 2) {
  const PhiloxStream stream = random.reserve(shape.numel());
  std::vector<double> values(shape.numel());
  for (size_t i = 0; i < values.size(); ++i) values[i] = low + stream.uniform(i) * (high - low);
  return Tensor::from(values, shape);
}

void check_close(const Tensor& a, const std::vector<double>& b, double tolerance = 1e-11) {
  const std::vector<double> values = a.to_doubles();
  REQUIRE(values.size() == b.size());
  double worst = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    const double error = std::fabs(values[i] - b[i]) / (1 + std::fabs(b[i]));
    if (!(error <= worst)) worst = error;  // a NaN stays
  }
  CHECK(worst <= tolerance);
}

// (x - mean) / sqrt(var + eps) over the elements that share a key; `centred` false: x / sqrt(mean(x^2) + eps).
std::vector<double> normalised(const Tensor& x, double eps, bool centred, const std::function<int64_t(int64_t)>& key) {
  std::vector<double> v = x.to_doubles(), y(v.size());
  std::vector<double> count(v.size()), mean(v.size()), square(v.size());
  for (size_t i = 0; i < v.size(); ++i) ++count[key(i)];
  for (size_t i = 0; centred && i < v.size(); ++i) mean[key(i)] += v[i] / count[key(i)];
  for (size_t i = 0; i < v.size(); ++i) square[key(i)] += (v[i] - mean[key(i)]) * (v[i] - mean[key(i)]) / count[key(i)];
  for (size_t i = 0; i < v.size(); ++i) y[i] = (v[i] - mean[key(i)]) / std::sqrt(square[key(i)] + eps);
  return y;
}

std::vector<double> affine(std::vector<double> v, const Tensor& weight, const Tensor* bias) {
  const std::vector<double> w = weight.to_doubles(), b = bias ? bias->to_doubles() : std::vector<double>(w.size());
  for (size_t i = 0; i < v.size(); ++i) v[i] = v[i] * w[i % w.size()] + b[i % w.size()];
  return v;
}

}  // namespace

TEST_CASE("norms are their definitions") {
  Random random{7};
  const int64_t channels = 12, rows = 5 * 7 * 3;
  const Tensor x = random_tensor({5, 7, 3, channels}, random), weight = random_tensor({channels}, random), bias = random_tensor({channels}, random);

  check_close(rms_norm(x, weight, 0.01), affine(normalised(x, 0.01, false, [](int64_t i) { return i / 12; }), weight, nullptr));
  check_close(layer_norm(x, weight, bias, 0.01), affine(normalised(x, 0.01, true, [](int64_t i) { return i / 12; }), weight, &bias));
  check_close(group_norm(x, 3, weight, bias, 0.01),
              affine(normalised(x, 0.01, true, [](int64_t i) { return i / (21 * 12) * 3 + i % 12 / 4; }), weight, &bias));

  const Tensor residual = random_tensor(x.shape(), random);
  std::vector<double> expected = affine(normalised(x, 0.01, true, [](int64_t i) { return i % 12; }), weight, &bias);
  std::vector<double> sum = expected;
  for (size_t i = 0; i < sum.size(); ++i) sum[i] = std::max(0.0, sum[i] + residual.to_doubles()[i]);
  const Tensor mean = Tensor::full({channels}, 4, DType::f64), var = Tensor::full({channels}, 8, DType::f64);
  {
    const Training training;
    check_close(batch_norm(x, weight, bias, mean, var, {.eps = 0.01, .momentum = 0.25, .relu = true}, residual), sum);
  }
  std::vector<double> batch_mean(channels), batch_var(channels);
  const std::vector<double> v = x.to_doubles();
  for (size_t i = 0; i < v.size(); ++i) batch_mean[i % channels] += v[i] / rows;
  for (size_t i = 0; i < v.size(); ++i) batch_var[i % channels] += std::pow(v[i] - batch_mean[i % channels], 2) / (rows - 1);
  std::vector<double> running_mean(channels), running_var(channels), evaluated(v.size());
  for (int64_t c = 0; c < channels; ++c) {
    running_mean[c] = 0.75 * 4 + 0.25 * batch_mean[c];
    running_var[c] = 0.75 * 8 + 0.25 * batch_var[c];
  }
  check_close(mean, running_mean);
  check_close(var, running_var);
  for (size_t i = 0; i < v.size(); ++i) evaluated[i] = (v[i] - running_mean[i % channels]) / std::sqrt(running_var[i % channels] + 0.01);
  check_close(batch_norm(x, weight, bias, mean, var, {.eps = 0.01}), affine(evaluated, weight, &bias));
}

TEST_CASE("softmax and cross_entropy are their definitions, also where the maximum rises along the row") {
  Random random{11};
  for (const auto& [rows, classes] : {std::pair<int64_t, int64_t>{6, 5}, {3, 20000}}) {
    Tensor x = random_tensor({rows, classes}, random);
    for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] += 1000 + 8.0 * (i % classes) / classes;
    const Tensor weights = random_tensor({classes}, random, 0.5, 2);
    std::vector<int64_t> labels(rows);
    for (int64_t b = 0; b < rows; ++b) labels[b] = (b * 4099) % classes;
    labels[1] = -7;  // ignored
    const double smoothing = 0.2;

    const std::vector<double> v = x.to_doubles(), w = weights.to_doubles();
    std::vector<double> p(v.size()), log_p(v.size()), gradient(v.size());
    double loss = 0, weight_sum = 0, all = 0;
    for (double c : w) all += c;
    for (int64_t b = 0; b < rows; ++b) {
      if (b != 1) weight_sum += w[labels[b]];
    }
    for (int64_t b = 0; b < rows; ++b) {
      double sum = 0;
      for (int64_t c = 0; c < classes; ++c) sum += std::exp(v[b * classes + c] - 1005);
      for (int64_t c = 0; c < classes; ++c) {
        log_p[b * classes + c] = v[b * classes + c] - 1005 - std::log(sum);
        p[b * classes + c] = std::exp(log_p[b * classes + c]);
      }
      if (b == 1) continue;
      loss -= (1 - smoothing) * w[labels[b]] * log_p[b * classes + labels[b]] / weight_sum;
      for (int64_t c = 0; c < classes; ++c) {
        loss -= smoothing / classes * w[c] * log_p[b * classes + c] / weight_sum;
        const double target = (1 - smoothing) * w[c] * (c == labels[b]) + smoothing / classes * w[c];
        const double scale = (1 - smoothing) * w[labels[b]] + smoothing / classes * all;
        gradient[b * classes + c] = (scale * p[b * classes + c] - target) / weight_sum * 3;
      }
    }
    check_close(softmax(x), p, 1e-12);
    check_close(log_softmax(x), log_p, 1e-11);
    x.set_requires_grad();
    const Tensor got = cross_entropy(x, Tensor::from(labels, {rows}), {.label_smoothing = smoothing, .class_weights = weights, .ignore_index = -7});
    check_close(got, {loss});
    backward(got, 3);
    double largest = 0, worst = 0;
    for (size_t i = 0; i < gradient.size(); ++i) {
      const double error = std::fabs(x.grad().data<double>()[i] - gradient[i]);
      largest = std::max(largest, std::fabs(gradient[i]));
      worst = std::max(worst, std::isnan(error) ? 1e300 : error / (std::fabs(gradient[i]) + 1e-9));
    }
    CHECK(largest > 0.1);
    CHECK(worst < 1e-8);
  }
}
