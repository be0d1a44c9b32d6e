#include "models/resnext.h"

#include <nlohmann/json.hpp>

#include "kernels/pool.h"
#include "nn/config.h"
#include "tensor/autograd.h"

namespace weft {

void ResNextConfig::validate() const {
  for (int level = 0; level < 4; ++level) {
    check(planes[level] * width_per_group % 64 == 0 && width(level) > 0,
          "[resnext] planes * width_per_group must be a multiple of 64 but are {} and {} at level {}", planes[level],
          width_per_group, level + 1);
  }
}

ResNextConfig ResNextConfig::from_json(const nlohmann::json& json, const std::string& file) {
  ResNextConfig c;
  const ConfigReader read(json, file);
  const std::vector<int64_t> layers = read.integers("layers", 4, 1, 1 << 10);
  std::copy(layers.begin(), layers.end(), c.layers.begin());
  const std::vector<int64_t> planes = read.integers("planes", 4, 1, 1 << 14);
  std::copy(planes.begin(), planes.end(), c.planes.begin());
  c.stem = read.integer("stem", 1, 1 << 14);
  c.groups = read.integer("groups", 1, 1 << 12);
  c.width_per_group = read.integer("width_per_group", 1, 1 << 12);
  c.classes = read.integer("classes", 0, 1 << 24);
  try {
    c.validate();
  } catch (const std::invalid_argument& error) {
    fail("{}: {}", file, error.what());
  }
  return c;
}

nlohmann::json ResNextConfig::to_json() const {
  return {
      {"layers", layers},  {"planes", planes}, {"stem", stem}, {"groups", groups}, {"width_per_group", width_per_group},
      {"classes", classes}};
}

namespace {

// torchvision's ResNet draws convolutions with He's normal, fan-out mode.
Conv2d convolution(const Params& p, int64_t in, int64_t out, int kernel, int stride, int64_t groups) {
  return Conv2d(p, in, out, kernel, {.stride = stride, .padding = kernel / 2, .groups = static_cast<int>(groups)},
                false, init::kaiming_normal(out * kernel * kernel));
}

}  // namespace

Bottleneck::Bottleneck(const Params& p, int64_t in, int64_t width, int64_t out, int64_t groups, int stride,
                       bool project)
    : conv1(convolution(p / "conv1", in, width, 1, 1, 1)),
      conv2(convolution(p / "conv2", width, width, 3, stride, groups)),
      conv3(convolution(p / "conv3", width, out, 1, 1, 1)),
      bn1(p / "bn1", width),
      bn2(p / "bn2", width),
      bn3(p / "bn3", out) {
  if (project) {
    downsample = convolution(p / "downsample" / 0, in, out, 1, stride, 1);
    downsample_bn.emplace(p / "downsample" / 1, out);
  }
}

Tensor Bottleneck::operator()(const Tensor& x) const {
  const Tensor shortcut = downsample ? (*downsample)(x, *downsample_bn) : x;
  return conv3(conv2(conv1(x, bn1, true), bn2, true), bn3, true, shortcut);
}

ResNext::ResNext(const Params& p, const ResNextConfig& c)
    : config(c),
      conv1(convolution(p / "conv1", 3, c.stem, 7, 2, 1)),
      bn1(p / "bn1", c.stem) {
  c.validate();
  int64_t in = c.stem;
  for (int level = 0; level < 4; ++level) {
    const int64_t width = c.width(level), out = 4 * c.planes[level];
    for (int64_t i = 0; i < c.layers[level]; ++i) {
      const int stride = i == 0 && level > 0 ? 2 : 1;
      blocks.emplace_back(p / fmt::format("layer{}", level + 1) / static_cast<int>(i), in, width, out, c.groups,
                          stride, stride != 1 || in != out);
      in = out;
    }
  }
  if (c.classes > 0) fc.emplace(p / "fc", c.features(), c.classes);
}

Tensor ResNext::features(const Tensor& images) const {
  check(images.rank() == 4 && images.dim(3) == 3, "[resnext] images must be [N, H, W, 3] but have shape {}",
        images.shape());
  const auto early = [&](const Tensor& part) {
    Tensor x = max_pool2d(conv1(part, bn1, true), 3, 2, 1);
    for (int64_t i = 0; i < config.layers[0] + config.layers[1]; ++i) x = blocks[i](x);
    return x;
  };
  const auto late = [&](Tensor x) {
    for (size_t i = config.layers[0] + config.layers[1]; i < blocks.size(); ++i) x = blocks[i](x);
    return global_average_pool(x);
  };
  if (images.device() != Device::cpu || Training::active() || grad_enabled() || images.dim(0) < 2)
    return late(early(images));

  // On the cpu large activations of one image at a time stay in the caches; small ones of several share the weights.
  constexpr int64_t together = 4;
  Tensor result;
  for (int64_t first = 0; first < images.dim(0); first += together) {
    const int64_t last = std::min(images.dim(0), first + together);
    Tensor middle;
    for (int64_t i = first; i < last; ++i) {
      const Tensor one = early(images.leading(i, i + 1));
      if (i == first) middle = Tensor::empty({last - first, one.dim(1), one.dim(2), one.dim(3)}, one.dtype());
      middle.leading(i - first, i - first + 1).copy_from(one);
    }
    const Tensor part = late(middle);
    if (first == 0) result = Tensor::empty({images.dim(0), part.dim(1)}, part.dtype());
    result.leading(first, last).copy_from(part);
  }
  return result;
}

Tensor ResNext::operator()(const Tensor& images) const {
  check(fc.has_value(), "[resnext] this model has no classification layer");
  return (*fc)(features(images));
}

}  // namespace weft
