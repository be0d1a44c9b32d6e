#include "op_check/check.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "op_check/sample.h"
#include "tensor/autograd.h"

namespace weft::op_check {

namespace {

struct Result {
  Tensor y;
  Tensors gradients;  // undefined for inputs that have none
};

// Runs a case in one dtype: forward, and backward from the projection dy if there is one.
Result evaluate(const Case& c, const Tensors& samples, DType dtype, const Tensor& projection, Device device = Device::cpu) {
  const Tensors inputs = as_dtype(samples, c.inputs, dtype, c.differentiable, device);
  Result result;
  Tensor y = c.run(inputs);
  result.y = y.detach();
  if (!c.differentiable) return result;
  Tensor dy = empty_like(y.detach());
  dy.copy_from(projection);
  backward(y, dy);
  for (const Tensor& x : inputs) result.gradients.push_back(x.grad());
  return result;
}

// A random direction of y's shape, exact in every dtype.
Tensor random_projection(const Shape& shape, Random& random) {
  const PhiloxStream stream = random.reserve(shape.numel());
  std::vector<double> values(shape.numel());
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = (static_cast<int>(stream.uniform(i) * 16) - 7.5) / 8;
  }
  return Tensor::from(values, shape);
}

// The comparison itself is under test too: an error of 1 % (5 % in bf16) in the largest element must be seen.
std::string planted_error_passes(const Tensor& truth, double rtol, DType dtype, double rounded) {
  std::vector<double> values = truth.to_doubles();
  if (values.empty() || !is_floating(truth.dtype())) return "";
  auto top = std::max_element(values.begin(), values.end(), [](double a, double b) { return std::fabs(a) < std::fabs(b); });
  if (std::fabs(*top) < 1000 * rounded_zero) return "";
  const double error = dtype == DType::bf16 ? 0.05 : 0.01;
  *top *= 1 + error;
  if (compare(Tensor::from(values, truth.shape()), truth, rtol, rounded).empty()) return fmt::format("a planted error of {} % passes", error * 100);
  *top = std::nan("");
  if (compare(Tensor::from(values, truth.shape()), truth, rtol, rounded).empty()) return "a planted NaN passes";
  return "";
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  const Tensor x = a.detach().to(Device::cpu), y = b.detach().to(Device::cpu);
  return x.nbytes() == 0 || std::memcmp(x.raw(), y.raw(), x.nbytes()) == 0;
}

// on_device()'s words for an op without a kernel there.
bool says_no_kernel(const char* message) { return std::strstr(message, "this build has no kernel for device") != nullptr; }

}  // namespace

TestResult test(const Op& op, uint64_t seed, Device device) {
  auto [failures, skipped] = TestResult();
  for (const Case& c : op.cases) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      if (dtype == DType::bf16 && !c.half) continue;
      const auto failed = [&](const std::string& where, const std::string& what) {
        if (!what.empty()) failures.push_back(fmt::format("{} {} {} {}: {}", op.name, c.name, dtype, where, what));
      };
      try {
        Random random{seed};
        const Tensors samples = sample(c.inputs, dtype, random);
        Tensor projection;
        {
          const NoGrad no_grad;
          projection = random_projection(c.run(as_dtype(samples, c.inputs, DType::f64, false)).shape(), random);
        }
        const Result truth = evaluate(c, samples, DType::f64, projection);
        const Result got = evaluate(c, samples, dtype, projection, device), again = evaluate(c, samples, dtype, projection, device);
        const bool half = dtype == DType::bf16;
        const double rtol = half ? c.bf16 : c.f32, rounded = half ? rounded_zero : rounded_f32;
        failed("forward", compare(got.y, truth.y, rtol, rounded));
        failed("forward", planted_error_passes(truth.y, rtol, dtype, rounded));
        failed("forward", same_bytes(got.y, again.y) ? "" : "two runs differ");
        for (size_t i = 0; i < truth.gradients.size(); ++i) {
          if (!truth.gradients[i].defined()) continue;
          const std::string where = fmt::format("gradient of input {}", i);
          failed(where, compare(got.gradients[i], truth.gradients[i], rtol, rounded));
          failed(where, planted_error_passes(truth.gradients[i], rtol, dtype, rounded));
          failed(where, same_bytes(got.gradients[i], again.gradients[i]) ? "" : "two runs differ");
        }
      } catch (const std::exception& error) {
        if (says_no_kernel(error.what())) {
          skipped.push_back(fmt::format("{} {} {}: {}", op.name, c.name, dtype, error.what()));
        } else {
          failed("run", error.what());
        }
      }
    }
  }
  for (const Misuse& misuse : op.misuses) {
    std::string message = "no error";
    try {
      misuse.run();
    } catch (const std::exception& error) {
      message = error.what();
    }
    if (message != misuse.message) {
      failures.push_back(fmt::format("{} misuse {}: the message is '{}' but must be '{}'", op.name, misuse.name, message, misuse.message));
    }
  }
  return {failures, skipped};
}

std::vector<std::string> grad(const Op& op, uint64_t seed) {
  constexpr double eps = 1e-6;
  constexpr int64_t at_most = 48;  // elements of an input that are varied
  std::vector<std::string> failures;
  for (const Case& c : op.cases) {
    if (!c.differentiable) continue;
    const auto failed = [&](const std::string& what) {
      if (!what.empty()) failures.push_back(fmt::format("{} {} grad: {}", op.name, c.name, what));
    };
    try {
      Random random{seed};
      const Tensors samples = sample(c.inputs, DType::f64, random);
      const auto value = [&](const Tensors& inputs) {
        const NoGrad no_grad;
        return c.run(inputs).to_doubles();
      };
      const Tensors inputs = as_dtype(samples, c.inputs, DType::f64, true);
      Tensor y = c.run(inputs);
      const Tensor projection = random_projection(y.shape(), random);
      const std::vector<double> weight = projection.to_doubles();
      backward(y, projection);
      for (size_t i = 0; i < inputs.size(); ++i) {
        const Tensor& x = inputs[i];
        if (!is_floating(x.dtype()) || !c.inputs[i].gradient) continue;
        check(x.grad().defined(), "input {} has no gradient", i);
        const std::vector<double> analytic = x.grad().to_doubles();
        double top = 0;
        for (double g : analytic) top = std::max(top, std::fabs(g));
        const PhiloxStream stream = random.reserve(at_most);
        for (int64_t k = 0; k < std::min(at_most, x.numel()); ++k) {
          const int64_t e = x.numel() <= at_most ? k : static_cast<int64_t>(stream.uniform(k) * x.numel());
          double* element = x.data<double>() + e;
          const double before = *element;
          *element = before + eps;
          x.mark_modified();
          const std::vector<double> up = value(inputs);
          *element = before - eps;
          x.mark_modified();
          const std::vector<double> down = value(inputs);
          *element = before;
          x.mark_modified();
          double slope = 0;
          for (size_t j = 0; j < up.size(); ++j) slope += weight[j] * (up[j] - down[j]);
          slope /= 2 * eps;
          const double error = std::fabs(analytic[e] - slope);
          // Rounding of the two values alone gives about 1e-16 |y| / eps.
          if (!(error <= c.grad * (std::fabs(slope) + top) + 1e-8)) {
            failed(fmt::format("dL/dinput {}, element {}: {:.9g} but the slope is {:.9g}", i, e, analytic[e], slope));
            break;
          }
        }
      }
    } catch (const std::exception& error) {
      failed(error.what());
    }
  }
  return failures;
}

}  // namespace weft::op_check
