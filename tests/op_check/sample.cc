#include "op_check/sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tensor/dispatch.h"

namespace weft::op_check {

std::vector<Op>& ops() {
  static std::vector<Op> all;
  return all;
}

Register::Register(Op op) {
  auto at = std::lower_bound(ops().begin(), ops().end(), op, [](const Op& a, const Op& b) { return a.name < b.name; });
  ops().insert(at, std::move(op));
}

namespace {

DType input_dtype(const Input& input, DType dtype) {
  switch (input.kind) {
    case Input::Kind::activation: return dtype;
    case Input::Kind::parameter: return parameter_dtype(dtype);
    case Input::Kind::index: return DType::i64;
    case Input::Kind::boolean: return DType::boolean;
  }
  return dtype;
}

double rounded(double value, DType dtype) {
  if (dtype == DType::bf16) return bf16(static_cast<float>(value));
  if (dtype == DType::f32) return static_cast<float>(value);
  return value;
}

}  // namespace

Tensors sample(const std::vector<Input>& inputs, DType dtype, Random& random) {
  Tensors result;
  for (const Input& input : inputs) {
    const int64_t n = input.shape.numel();
    const PhiloxStream stream = random.reserve(n);
    std::vector<double> values(n);
    const DType stored = input_dtype(input, dtype);
    const double margin = stored == DType::bf16 ? 0.02 : 1e-3;
    for (int64_t i = 0; i < n; ++i) {
      const double u = stream.uniform(i);
      double& v = values[i];
      if (input.kind == Input::Kind::boolean) {
        v = u < input.high;
      } else if (input.kind == Input::Kind::index) {
        v = std::floor(input.low + u * (input.high - input.low));
      } else {
        v = input.low + u * (input.high - input.low);
        for (double kink : input.kinks) {
          if (std::fabs(v - kink) < 2 * margin) v = kink + (v < kink ? -2 : 2) * margin;
        }
        v = rounded(v, stored);
      }
    }
    if (input.distinct) {
      std::vector<int64_t> order(n);
      std::iota(order.begin(), order.end(), 0);
      std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return values[a] != values[b] ? values[a] < values[b] : a < b; });
      // Integers up to 256 are exact in bf16; a larger tensor repeats them at a distance.
      for (int64_t k = 0; k < n; ++k) values[order[k]] = static_cast<double>(n <= 256 ? k : (k * 37) % 251) / 8;
    }
    result.push_back(Tensor::from(values, input.shape));
  }
  return result;
}

Tensors as_dtype(const Tensors& samples, const std::vector<Input>& inputs, DType dtype, bool grad, Device device) {
  Tensors result;
  for (size_t i = 0; i < samples.size(); ++i) {
    Tensor t = Tensor::empty(samples[i].shape(), input_dtype(inputs[i], dtype));
    t.copy_from(samples[i]);
    t = t.to(device);
    if (grad && inputs[i].gradient && is_floating(t.dtype())) t.set_requires_grad();
    result.push_back(t);
  }
  return result;
}

std::string compare(const Tensor& a, const Tensor& truth, double rtol, double rounded) {
  if (!(a.shape() == truth.shape())) return fmt::format("the shape is {} but must be {}", a.shape(), truth.shape());
  const std::vector<double> x = a.to_doubles(), y = truth.to_doubles();
  double top = 0;
  for (double v : y) top = std::max(top, std::fabs(v));
  double worst = 0;
  size_t at = 0;
  bool bad = false;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == y[i] || std::fabs(x[i] - y[i]) < rounded) continue;  // the first: equal infinities
    const double error = std::fabs(x[i] - y[i]) / (std::fabs(y[i]) + top);
    if (!(error <= rtol) && (!bad || !(error <= worst))) {
      bad = true;
      at = i;
      worst = error;
    }
  }
  if (!bad) return "";
  return fmt::format("element {} of {} is {:.9g} but must be {:.9g} (error {:.3g}, allowed {:.3g})", at, a.shape(), x[at], y[at], worst, rtol);
}

}  // namespace weft::op_check
