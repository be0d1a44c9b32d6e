// What the cascade's UNets predict: noise, as the goldens have it, or v, whose truth is its formula.
#include <doctest/doctest.h>

#include <cmath>

#include "kernels/arithmetic.h"
#include "models/cascade.h"
#include "tests/imagen_golden.h"

using namespace weft;

TEST_CASE("a picture follows from its noise and from its v at every step of every sampler") {
  Random random{3};
  const PhiloxStream stream = random.reserve(96);
  Tensor x0 = Tensor::empty({2, 4, 4, 3}), noise = Tensor::empty({2, 4, 4, 3});
  for (int64_t i = 0; i < 96; ++i) {
    x0.data<float>()[i] = stream.uniform(i) * 2 - 1;
    noise.data<float>()[i] = static_cast<float>(Random{4}.reserve(96).normal(i));
  }
  for (const SamplerKind kind : {SamplerKind::ddpm, SamplerKind::ddim, SamplerKind::dpm_solver_pp}) {
    const Sampler sampler(kind, 7);
    for (int64_t step = 0; step < sampler.steps(); ++step) {
      const float alpha = alpha_of(sampler.log_snr_at(step)), sigma = sigma_of(sampler.log_snr_at(step));
      const Tensor x = add(mul(x0, alpha), mul(noise, sigma));
      const Tensor v = sub(mul(noise, alpha), mul(x0, sigma));
      CHECK(error_of(sampler.predict(step, x, v, Prediction::v), x0) < 1e-6);
      // Rounding in x is divided by alpha, which is 0.003 at the first time.
      CHECK(error_of(sampler.predict(step, x, noise, Prediction::noise), x0) < 1e-6 / alpha);
    }
  }
}

TEST_CASE("the loss of a UNet that says nothing is what predicting zeros gives, by the formula of its target") {
  const ImagenGolden golden;
  for (const int unet : {0, 1}) {
    for (const Prediction prediction : {Prediction::noise, Prediction::v}) {
      TinyCascade tiny(unet);
      Cascade& cascade = tiny.cascade;
      cascade.config.prediction = prediction;
      cascade.config.compat = Compat::fixed;
      const Unet& net = *cascade.unets[unet];
      for (const Tensor& t : {net.final_conv.weight, net.final_conv.bias}) t.detach().fill(0);
      const TrainingDraws d = recorded_draws(golden, unet);
      const Tensor images = golden.image("train.images");
      const double zeros = cascade.zero_loss(unet, images, d);
      CHECK(cascade.loss(unet, images, golden.text(), d).item() == doctest::Approx(zeros).epsilon(1e-6));

      const Tensor target = resize_square(images, cascade.config.image_sizes[unet], Compat::fixed);
      const int64_t B = target.dim(0), of_row = target.numel() / B;
      double truth = 0;
      for (int64_t i = 0; i < target.numel(); ++i) {
        const double l = log_snr(NoiseSchedule::cosine, d.times[i / of_row]), snr = std::exp(l);
        const double alpha = std::sqrt(snr / (1 + snr)), sigma = std::sqrt(1 / (1 + snr));
        const double n = d.noise.data<float>()[i], x = 2.0 * target.data<float>()[i] - 1;
        const double wanted = prediction == Prediction::v ? alpha * n - sigma * x : n;
        truth += wanted * wanted / std::sqrt(1 + snr) / static_cast<double>(target.numel());
      }
      CHECK(zeros == doctest::Approx(truth).epsilon(1e-5));
    }
  }
}
