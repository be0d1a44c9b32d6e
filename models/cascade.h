// The text-to-image cascade of GLAMI-1M: a base UNet draws a small picture from noise and a text, the next one a larger
// picture from noise, the text and the small one. Parameter names are imagen-pytorch's: `unets.0.`, `unets.1.`.
#pragma once

#include <array>
#include <functional>
#include <memory>

#include "models/diffusion.h"
#include "models/unet.h"

namespace weft {

/// Which of two behaviours is asked for where imagen-pytorch 0.10.0 has a mistake: docs/text-to-image.md lists them.
enum class Compat { fixed, glami };
Compat compat_from_name(const std::string& name);
const char* name_of(Compat compat);

struct CascadeConfig {
  std::vector<UnetConfig> unets{UnetConfig{}, UnetConfig::glami_upsampler()};
  std::vector<int64_t> image_sizes{64, 128};
  int64_t timesteps = 500;      // of ddpm, unless a call says otherwise
  int64_t max_tokens = 32;      // of a text
  double cond_drop_prob = 0.1;  // in training, a text is left out with this probability
  double threshold_percentile = 0.9;
  double lowres_noise_level = 0.2;  // augmentation of the small picture in sampling, a time of the linear schedule
  double p2_gamma = 0.5, p2_k = 1;  // loss weight (p2_k + exp(l))^-p2_gamma
  Prediction prediction = Prediction::noise;  // the original's; v learns faster from few steps and bears bf16 better
  Compat compat = Compat::fixed;    // what it was trained with, and is sampled with unless a call says otherwise

  static CascadeConfig from_json(const nlohmann::json& json, const std::string& file);
  nlohmann::json to_json() const;
};

/// Texts of a batch as the UNets take them: embeddings [B, T, text_embed_dim], mask [B, T] bool on the cpu.
struct TextBatch {
  Tensor embeddings, mask;
};

/// The random numbers of one training step.
struct TrainingDraws {
  std::vector<float> times;  // [B], in [0, 0.999)
  float augmentation_time = 0;
  Tensor noise;         // [B, H, W, C] f32 at the UNet's size
  Tensor lowres_noise;  // the same, for a UNet with lowres_cond
  Tensor keep;          // [B] bool: rows whose text is seen
};

struct SamplingOptions {
  SamplerKind sampler = SamplerKind::dpm_solver_pp;
  int64_t steps = 50;
  double guidance = 8;  // 1: without the branch that sees no text
  Compat compat = Compat::fixed;
  DType dtype = DType::f32;
};

/// Normal noise of a shape [B, H, W, C], f32. Called in the original's order: first picture, then its steps (ddpm);
/// noise of the augmentation, first picture and steps of the next UNet.
using NoiseSource = std::function<Tensor(const Shape& shape)>;

/// Where sampling stands, after every step.
struct SamplingProgress {
  int64_t unet, step, steps;
  Tensor x;   // [B, H, W, C], the noisy picture of the next time
  Tensor x0;  // the picture as it is guessed now, in [-1, 1]
};
/// Returns whether to go on.
using SamplingCallback = std::function<bool(const SamplingProgress&)>;

struct Cascade {
  CascadeConfig config;
  std::vector<std::unique_ptr<Unet>> unets;

  /// All UNets, or those for which `built` is true (the others are null).
  Cascade(const Params& p, const CascadeConfig& config, const std::vector<bool>& built = {});
  Device device() const;

  /// Numbers for a step of UNet i on a batch of B, drawn from `random`.
  TrainingDraws draw(int64_t unet, int64_t B, Random& random) const;
  /// The loss of UNet i: images [B, S, S, C] f32 in [0, 1] at the last of the image sizes -> [], f32. Computes in the
  /// embeddings' dtype.
  Tensor loss(int64_t unet, const Tensor& images, const TextBatch& text, const TrainingDraws& draws) const;
  /// How far from pictures [B, S, S, C] in [0, 1], S the first size, the sketches of their texts are (Unet::sketch): the
  /// mean of squares of differences in [-1, 1], f32.
  Tensor sketch_loss(const Tensor& images, const TextBatch& text) const;
  /// What the loss would be if the UNet always predicted zeros: what it has to beat.
  double zero_loss(int64_t unet, const Tensor& images, const TrainingDraws& draws) const;

  /// Pictures [B, S, S, C] f32 in [0, 1] of UNet i; `lowres` is the picture of the UNet before it, in [0, 1]. An
  /// undefined result: the callback said stop. A value that is not finite is a std::runtime_error that names the step
  /// and the layer.
  Tensor sample(int64_t unet, const TextBatch& text, const Tensor& lowres, const SamplingOptions& options,
                const NoiseSource& noise, const SamplingCallback& callback = {}) const;
};

/// x [B, H, W, C] at size x size: ResizeRight's cubic filter, whose borders darken with Compat::glami.
Tensor resize_square(const Tensor& x, int64_t size, Compat compat);

/// The original's average of the parameters of one UNet (ema-pytorch 0.0.8, defaults): a copy of them for the first 100
/// calls, then an average with decay min(1 - (1 + k)^(-2/3), most), k = calls - 101; moved in every tenth call. The
/// original's `most` of 0.9999 makes it an average over the last half of a training of thousands of steps; 0.98 over
/// the last 500. Its state is kept as buffers of `p`'s set, `ema_model.*`, `initted` and `step`, so that a checkpoint holds them.
class UnetAverage {
 public:
  UnetAverage(const Params& p, const ParameterSet& averaged, const std::string& prefix, double most = 0.9999);
  UnetAverage(const UnetAverage&) = delete;
  /// To be called after every optimiser step.
  void update();
  /// While alive, the averages are in the place of the parameters.
  class Applied {
   public:
    explicit Applied(UnetAverage& average) : average_(average) { average_.swap(); }
    ~Applied() { average_.swap(); }
    Applied(const Applied&) = delete;

   private:
    UnetAverage& average_;
  };

 private:
  void swap();
  std::vector<Parameter> parameters_;
  Tensors averages_;
  Tensor initted_, step_;
  double most_;
};

}  // namespace weft
