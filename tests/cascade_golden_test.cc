// The cascade against imagen-pytorch 0.10.0: tests/golden/imagen/README.md says what is recorded.
#include <fmt/format.h>

#include <fstream>
#include <set>

#include "models/cascade.h"
#include "nn/optimizers.h"
#include "tests/imagen_golden.h"

using namespace weft;

namespace {

constexpr double f32_tolerance = 1e-5, step_tolerance = 1e-4;

}  // namespace

TEST_CASE("the full-size UNets have the original's parameters") {
  std::set<std::string> expected, found;
  std::ifstream file(imagen_file("full_size_parameter_names.txt"));
  std::string name, shape, dtype;
  while (std::getline(file, name, '\t') && std::getline(file, shape, '\t') && std::getline(file, dtype)) {
    expected.insert(name + " " + shape);
  }
  CHECK(expected.size() == 584 + 695);
  for (const bool base : {true, false}) {  // one after the other, since each takes 0.8 GB
    ParameterSet set;
    const Cascade cascade(set, CascadeConfig{}, {base, !base});
    for (const Parameter& p : set.all()) found.insert(fmt::format("{} {}", p.name, p.tensor.shape()));
  }
  CHECK(found == expected);
}

TEST_CASE("UNet outputs") {
  const ImagenGolden golden;
  const NoGrad no_grad;
  for (const int i : {0, 1}) {
    const TinyCascade model(i);
    const Unet& net = *model.cascade.unets[i];
    const std::string u = fmt::format("u{}.", i + 1);
    const Tensor lowres = i ? golden.image(u + "lowres") : Tensor(), l = i ? golden(u + "lowres_logsnr") : Tensor();
    for (const bool keep : {true, false}) {
      for (const bool for_sampling : {false, true}) {
        CAPTURE(u);
        CAPTURE(keep);
        const UnetText text = net.text(golden.text().embeddings, golden.text().mask, kept(keep), for_sampling);
        const Tensor y = net(golden.image(u + "x"), golden("u1.logsnr"), text, lowres, l);
        CHECK(error_of(y, golden.image(u + (keep ? "out_cond" : "out_null"))) <= f32_tolerance);
      }
    }
  }
}

TEST_CASE("schedules and resizes") {
  const ImagenGolden golden;
  const Tensor t = golden("sched.t");
  const std::vector<float> times =
      linspace(static_cast<float>(t.to_doubles().front()), static_cast<float>(t.to_doubles().back()), 501);
  std::vector<float> cosine, linear;
  for (size_t i = 0; i < times.size(); ++i) {
    CHECK(times[i] == doctest::Approx(t.to_doubles()[i]).epsilon(1e-6));
    cosine.push_back(log_snr(NoiseSchedule::cosine, t.data<float>()[i]));
    linear.push_back(log_snr(NoiseSchedule::linear, t.data<float>()[i]));
  }
  CHECK(error_of(Tensor::from(cosine, {501}), golden("sched.cosine_logsnr")) <= f32_tolerance);
  CHECK(error_of(Tensor::from(linear, {501}), golden("sched.linear_logsnr")) <= f32_tolerance);
  const Tensor in = golden.image("resize.in");
  CHECK(error_of(resize_square(in, 32, Compat::glami), golden.image("resize.up32")) <= f32_tolerance);
  CHECK(error_of(resize_square(in, 8, Compat::glami), golden.image("resize.down8")) <= f32_tolerance);
  const Tensor ones = Tensor::full({1, 16, 16, 3}, 1);
  CHECK(error_of(resize_square(ones, 32, Compat::fixed), Tensor::full({1, 32, 32, 3}, 1)) <= f32_tolerance);
  CHECK(resize_square(ones, 32, Compat::glami).data<float>()[0] == doctest::Approx(0.635).epsilon(1e-3));
}

TEST_CASE("losses, every gradient, and the weights after Adam") {
  const ImagenGolden golden;
  for (const int i : {0, 1}) {
    CAPTURE(i);
    const TinyCascade model(i);
    const Training training;
    const TrainingDraws draws = recorded_draws(golden, i);
    const Tensor loss = model.cascade.loss(i, golden.image("train.images"), golden.text(), draws);
    CHECK(error_of(loss.reshape({1}), golden(fmt::format("train.loss.{}", i))) <= f32_tolerance);
    backward(loss);
    const Safetensors gradients(imagen_file(fmt::format("unet{}_gradients.safetensors", i)));
    CHECK(gradients.entries().size() == model.set.trainable().size());
    for (const Parameter& p : model.set.trainable()) {
      CAPTURE(p.name);
      if (vanishes(p.name)) {
        CHECK(std::abs(p.tensor.grad().item()) < 1e-7);
      } else {
        CHECK(error_of(p.tensor.grad(), gradients.tensor("train.grad." + p.name)) <= f32_tolerance);
      }
    }
    Adam adam(model.set, {.beta2 = 0.99});
    adam.step(1e-4);
    int compared = 0;
    for (const Parameter& p : model.set.trainable()) {
      const Safetensors::Entry* after = golden.file.find("train.after_step." + p.name);
      if (!after || vanishes(p.name)) continue;
      CAPTURE(p.name);
      CHECK(error_of(p.tensor, golden(after->name)) <= f32_tolerance);
      ++compared;
    }
    CHECK(compared > 100);
  }
}

TEST_CASE("sampling steps with the recorded noise") {
  const ImagenGolden golden;
  int drawn = 0, step = 0;
  const NoiseSource noise = [&](const Shape& shape) {
    const Tensor n = golden.image(fmt::format("sample.noise.{:02}", drawn++));
    CHECK(n.shape() == shape);
    return n;
  };
  const auto compare = [&](const SamplingProgress& at) {
    CAPTURE(step);
    CHECK(error_of(at.x, golden.image(fmt::format("sample.x.{:02}", step++))) <= step_tolerance);
    return true;
  };
  const SamplingOptions options{.sampler = SamplerKind::ddpm, .steps = 5, .guidance = 8, .compat = Compat::glami};
  Tensor picture;
  for (const int i : {0, 1}) {
    const TinyCascade model(i);
    picture = model.cascade.sample(i, golden.text(), picture, options, noise, compare);
    CHECK(error_of(picture, golden.image(i ? "sample.out128" : "sample.out64")) <= step_tolerance);
  }
  CHECK(drawn == 13);
  CHECK(step == 10);
}
