// What diffusion needs beside a network (imagen-pytorch 0.10.0): noise schedules in continuous time, and samplers that
// walk them. A picture at time t in [0, 1] is alpha x0 + sigma noise with alpha^2 = sigmoid(l), sigma^2 = sigmoid(-l),
// l(t) its log-SNR.
#pragma once

#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace weft {

enum class NoiseSchedule { cosine, linear };

/// l(t), in f32 as the original computes it. cosine: -ln(max(cos((t + 0.008) / 1.008 pi / 2)^-2 - 1, 1e-5)); linear:
/// -ln(expm1(1e-4 + 10 t^2)).
float log_snr(NoiseSchedule schedule, float t);
float alpha_of(float log_snr);
float sigma_of(float log_snr);

/// `count` f32 values from `from` to `to`, both included, as torch.linspace gives them.
std::vector<float> linspace(float from, float to, int64_t count);

/// What a network says of x = alpha x0 + sigma noise: the noise, or v = alpha noise - sigma x0 (Salimans and Ho 2022,
/// https://arxiv.org/abs/2202.00512), from which x0 follows without a division by alpha.
enum class Prediction { noise, v };
/// From "noise", "v"; throws std::invalid_argument for others.
Prediction prediction_from_name(const std::string& name);
const char* name_of(Prediction prediction);

enum class SamplerKind {
  ddpm,          // ancestral sampling (Ho et al. 2020), the original's: draws noise in every step
  ddim,          // Song et al. 2021, without noise
  dpm_solver_pp  // DPM-Solver++ 2M (Lu et al. 2022, https://arxiv.org/abs/2211.01095, algorithm 2)
};
/// From "ddpm", "ddim", "dpm++"; throws std::invalid_argument for others.
SamplerKind sampler_from_name(const std::string& name);
const char* name_of(SamplerKind kind);

/// One walk from noise to a picture. Steps go from times()[i] to times()[i + 1]: from 1 to 0 for ddpm, as the
/// original's; from 0.999, the last time that training sees, for the others.
class Sampler {
 public:
  Sampler(SamplerKind kind, int64_t steps);
  const std::vector<float>& times() const { return times_; }
  int64_t steps() const { return static_cast<int64_t>(times_.size()) - 1; }
  bool draws_noise() const { return kind_ == SamplerKind::ddpm; }
  float log_snr_at(int64_t step) const { return log_snr(NoiseSchedule::cosine, times_[static_cast<size_t>(step)]); }

  /// The picture that x and what was predicted at a step imply, before thresholding.
  Tensor predict(int64_t step, const Tensor& x, const Tensor& predicted, Prediction prediction) const;
  /// x at the next time, from x and the picture x0 at this one. `noise` is used by ddpm only. To be called for every
  /// step in order.
  Tensor next(int64_t step, const Tensor& x, const Tensor& x0, const Tensor& noise);

 private:
  SamplerKind kind_;
  std::vector<float> times_;
  Tensor previous_x0_;
};

}  // namespace weft
