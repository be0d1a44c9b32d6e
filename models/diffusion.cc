#include "models/diffusion.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/arithmetic.h"

namespace weft {

float log_snr(NoiseSchedule schedule, float t) {
  if (schedule == NoiseSchedule::linear) return -std::log(std::expm1(1e-4f + 10 * (t * t)));
  const float c = std::cos((t + 0.008f) / 1.008f * std::numbers::pi_v<float> * 0.5f);
  return -std::log(std::max(1 / (c * c) - 1, 1e-5f));
}

float alpha_of(float l) { return std::sqrt(1 / (1 + std::exp(-l))); }
float sigma_of(float l) { return std::sqrt(1 / (1 + std::exp(l))); }

std::vector<float> linspace(float from, float to, int64_t count) {
  std::vector<float> values;
  const float step = (to - from) / static_cast<float>(count - 1);
  // torch counts from both ends, so that both are exact.
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(i < count / 2 ? from + step * static_cast<float>(i)
                                   : to - step * static_cast<float>(count - 1 - i));
  }
  return values;
}

SamplerKind sampler_from_name(const std::string& name) {
  for (const SamplerKind kind : {SamplerKind::ddpm, SamplerKind::ddim, SamplerKind::dpm_solver_pp}) {
    if (name == name_of(kind)) return kind;
  }
  check(false, "[sampler] the name must be dpm++, ddim or ddpm but is '{}'", name);
  return {};
}

const char* name_of(SamplerKind kind) {
  return kind == SamplerKind::ddpm ? "ddpm" : kind == SamplerKind::ddim ? "ddim" : "dpm++";
}

Prediction prediction_from_name(const std::string& name) {
  check(name == "noise" || name == "v", "[prediction] the name must be noise or v but is '{}'", name);
  return name == "v" ? Prediction::v : Prediction::noise;
}

const char* name_of(Prediction prediction) { return prediction == Prediction::v ? "v" : "noise"; }

Sampler::Sampler(SamplerKind kind, int64_t steps) : kind_(kind) {
  check(steps >= 1 && steps <= 100000, "[sampler] the steps must be in [1, 100000] but are {}", steps);
  times_ = linspace(kind == SamplerKind::ddpm ? 1.0f : 0.999f, 0, steps + 1);
}

Tensor Sampler::predict(int64_t step, const Tensor& x, const Tensor& predicted, Prediction prediction) const {
  const float l = log_snr_at(step);
  if (prediction == Prediction::v) return sub(mul(x, alpha_of(l)), mul(predicted, sigma_of(l)));
  return mul(sub(x, mul(predicted, sigma_of(l))), 1 / std::max(alpha_of(l), 1e-8f));
}

Tensor Sampler::next(int64_t step, const Tensor& x, const Tensor& x0, const Tensor& noise) {
  const float l = log_snr_at(step), l_next = log_snr_at(step + 1);
  const float alpha = alpha_of(l), sigma = sigma_of(l), alpha_next = alpha_of(l_next), sigma_next = sigma_of(l_next);
  if (kind_ == SamplerKind::ddpm) {
    const float c = -std::expm1(l - l_next);
    const Tensor mean = add(mul(x, alpha_next * (1 - c) / alpha), mul(x0, alpha_next * c));
    if (times_[static_cast<size_t>(step) + 1] == 0) return mean;
    const float variance = std::max(sigma_next * sigma_next * c, 1e-20f);
    return add(mean, mul(noise, std::exp(0.5f * std::log(variance))));
  }
  // Both in the form x' = (sigma' / sigma) x + alpha' (1 - e^-h) D, h = ln(alpha' / sigma') - ln(alpha / sigma): with D
  // = x0 it is DDIM's step, with D extrapolated from this and the last x0 it is of second order.
  const float h = (l_next - l) / 2;
  Tensor target = x0;
  if (kind_ == SamplerKind::dpm_solver_pp && previous_x0_.defined() && step + 1 < steps()) {
    const float r = (l - log_snr_at(step - 1)) / 2 / h;
    target = add(mul(x0, 1 + 1 / (2 * r)), mul(previous_x0_, -1 / (2 * r)));
  }
  previous_x0_ = x0;
  return add(mul(x, sigma_next / sigma), mul(target, -alpha_next * std::expm1(-h)));
}

}  // namespace weft
