// The recorded cascade of tests/golden/imagen, which its README.md describes.
#pragma once

#include <string>

#include "kernels/arrange.h"
#include "models/cascade.h"
#include "tensor/autograd.h"
#include "tests/tensor_error.h"

namespace weft {

inline std::string imagen_file(const std::string& name) { return std::string(WEFT_TESTS) + "/golden/imagen/" + name; }

struct ImagenGolden {
  Safetensors file{imagen_file("golden.safetensors")};

  Tensor operator()(const std::string& name) const { return file.tensor(name); }
  /// An image or a batch of them, [B, C, H, W] on disk, as [B, H, W, C].
  Tensor image(const std::string& name) const { return permute(file.tensor(name), {0, 2, 3, 1}); }
  TextBatch text() const { return {file.tensor("text_embeds"), file.tensor("text_mask")}; }
};

inline CascadeConfig tiny_cascade() {
  CascadeConfig c;
  for (UnetConfig& u : c.unets) {
    u.dim = 16, u.cond_dim = 24, u.text_embed_dim = 20;
    u.dim_mults = {1, 2};
    u.attn_heads = 2, u.attn_dim_head = 8, u.max_text_len = 12, u.attn_pool_num_latents = 4, u.resnet_groups = 4;
    u.num_resnet_blocks = {1, 1};
    u.layer_attns = {0, 1};
    u.layer_cross_attns = {1, 1};
  }
  c.unets[1].num_resnet_blocks = {1, 2};
  c.unets[1].layer_cross_attns = {0, 1};
  c.image_sizes = {16, 32};
  c.timesteps = 5;
  c.compat = Compat::glami;
  return c;
}

/// Its first UNet with a layout, which the original does not have: without weights.
inline CascadeConfig layout_cascade() {
  CascadeConfig c = tiny_cascade();
  c.compat = Compat::fixed;
  c.prediction = Prediction::v;
  c.unets.resize(1), c.image_sizes.resize(1);
  c.unets[0].layout_size = 8, c.unets[0].layout_channels = 5, c.unets[0].layout_blocks = 1;
  c.unets[0].attn_pool_text = false;
  return c;
}

/// One UNet of the recorded cascade, the other left out.
struct TinyCascade {
  ParameterSet set;
  Cascade cascade;
  explicit TinyCascade(int unet, DType dtype = DType::f32, Device device = Device::cpu)
      : set(0, dtype, device),
        cascade(Params(set).from(Safetensors(imagen_file(fmt::format("unet{}_weights.safetensors", unet)))),
                tiny_cascade(), {unet == 0, unet == 1}) {
    set.check_all_used();
  }
};

// A softmax does not see what is added to all of its scores: the gradient of this bias is 0 but for rounding.
inline bool vanishes(const std::string& name) { return name.ends_with("gca.to_k.bias"); }

// `keep` of the whole batch.
inline Tensor kept(bool on) { return Tensor::full({2}, on, DType::boolean); }

inline TrainingDraws recorded_draws(const ImagenGolden& golden, int unet) {
  TrainingDraws d;
  for (const double t : golden("train.times").to_doubles()) d.times.push_back(static_cast<float>(t));
  d.augmentation_time = golden("train.aug_times").data<float>()[0];
  d.noise = golden.image(fmt::format("train.noise{}", unet + 1));
  if (unet == 1) d.lowres_noise = golden.image("train.lowres_noise");
  d.keep = kept(true);
  d.keep.data<bool>()[1] = false;  // the draw of the recorded step
  return d;
}

}  // namespace weft
