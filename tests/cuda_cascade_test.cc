// The recorded UNets (tests/golden/imagen) on the cuda device: outputs, losses and gradients in f32, outputs in bf16.
#include <doctest/doctest.h>

#include "kernels/cast.h"
#include "models/cascade.h"
#include "tests/imagen_golden.h"

using namespace weft;

namespace {

// On the device, [B, C, H, W] as [B, H, W, C].
Tensor image(const ImagenGolden& golden, const std::string& name) { return golden.image(name).to(Device::cuda); }

TextBatch text(const ImagenGolden& golden, DType dtype) {
  return {cast(golden.text().embeddings, dtype).to(Device::cuda), golden.text().mask};
}

// Noise that is the same in every run.
Tensor seeded(const Shape& shape) {
  Tensor noise = Tensor::empty(shape);
  Random random{7};
  const PhiloxStream stream = random.reserve(noise.numel());
  for (int64_t i = 0; i < noise.numel(); ++i) noise.data<float>()[i] = static_cast<float>(stream.normal(i));
  return noise;
}

}  // namespace

TEST_CASE("UNet outputs, with the keys and values of the text made before") {
  const ImagenGolden golden;
  const NoGrad no_grad;
  for (const int i : {0, 1}) {
    const TinyCascade model(i, DType::f32, Device::cuda);
    const Unet& net = *model.cascade.unets[i];
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const std::string u = fmt::format("u{}.", i + 1);
      CAPTURE(u);
      const TextBatch batch = text(golden, dtype);
      const Tensor lowres = i ? cast(image(golden, u + "lowres"), dtype) : Tensor();
      const Tensor l = i ? golden(u + "lowres_logsnr").to(Device::cuda) : Tensor();
      const Tensor y = net(cast(image(golden, u + "x"), dtype), golden("u1.logsnr").to(Device::cuda),
                           net.text(batch.embeddings, batch.mask, kept(true), true), lowres, l);
      CHECK(error_of(y, golden.image(u + "out_cond")) <= (dtype == DType::f32 ? 1e-5 : 4e-2));
    }
  }
}

TEST_CASE("loss and every gradient of the base UNet") {
  const ImagenGolden golden;
  const TinyCascade model(0, DType::f32, Device::cuda);
  const Training training;
  const Tensor loss =
      model.cascade.loss(0, image(golden, "train.images"), text(golden, DType::f32), recorded_draws(golden, 0));
  CHECK(error_of(loss.reshape({1}), golden("train.loss.0")) <= 1e-5);
  backward(loss);
  const Safetensors gradients(imagen_file("unet0_gradients.safetensors"));
  for (const Parameter& p : model.set.trainable()) {
    if (vanishes(p.name)) continue;
    CAPTURE(p.name);
    CHECK(error_of(p.tensor.grad(), gradients.tensor("train.grad." + p.name)) <= 3e-5);
  }
}

TEST_CASE("sampling: a step recorded once gives what the cpu gives") {
  const ImagenGolden golden;
  const NoiseSource noise = [](const Shape& shape) { return seeded(shape); };
  SamplingOptions options{.sampler = SamplerKind::ddim, .steps = 3, .guidance = 3, .compat = Compat::fixed};
  const TinyCascade there(0, DType::f32, Device::cuda), here(0);
  const Tensor a = there.cascade.sample(0, golden.text(), {}, options, noise);
  const Tensor b = here.cascade.sample(0, golden.text(), {}, options, noise);
  CHECK(error_of(a, b) <= 1e-4);
}

TEST_CASE("the layout of a text") {
  const ImagenGolden golden;
  const NoGrad no_grad;
  const auto drawn = [&](Device device) {
    ParameterSet set(11, DType::f32, device);
    const Cascade cascade(Params(set), layout_cascade());
    const Unet& net = *cascade.unets[0];
    const UnetText text = net.text(golden.text().embeddings.to(device), golden.text().mask, kept(true), true);
    return net(golden.image("u1.x").to(device), golden("u1.logsnr").to(device), text);
  };
  CHECK(error_of(drawn(Device::cuda), drawn(Device::cpu)) <= 1e-5);
}
