// ResNeXt (Xie et al. 2017, "Aggregated residual transformations for deep neural networks", table 1) with torchvision's
// parameter names and its placement of the stride in the 3x3 convolution.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <memory>
#include <optional>

#include "nn/layers.h"

namespace weft {

/// Names as in torchvision's ResNet; the defaults are resnext50_32x4d.
struct ResNextConfig {
  std::array<int64_t, 4> layers{3, 4, 6, 3};
  std::array<int64_t, 4> planes{64, 128, 256, 512};  // a level's output has 4 times as many channels
  int64_t stem = 64;                                 // channels after the 7x7 convolution
  int64_t groups = 32, width_per_group = 4;          // width_per_group is that of a level of 64 planes
  int64_t classes = 1000;                            // 0: no classification layer

  /// Channels of a level's 3x3 convolutions.
  int64_t width(int level) const { return planes[level] * width_per_group / 64 * groups; }
  int64_t features() const { return 4 * planes[3]; }  // channels after the last level

  /// Throws std::invalid_argument unless every width is a positive multiple of the groups.
  void validate() const;
  static ResNextConfig from_json(const nlohmann::json& json, const std::string& file);
  nlohmann::json to_json() const;
};

struct Bottleneck {
  Conv2d conv1, conv2, conv3;
  BatchNorm2d bn1, bn2, bn3;
  std::optional<Conv2d> downsample;
  std::optional<BatchNorm2d> downsample_bn;

  Bottleneck(const Params& p, int64_t in, int64_t width, int64_t out, int64_t groups, int stride, bool project);
  /// x [N, H, W, in] -> [N, H / stride, W / stride, out]
  Tensor operator()(const Tensor& x) const;
};

struct ResNext {
  ResNextConfig config;
  Conv2d conv1;
  BatchNorm2d bn1;
  std::vector<Bottleneck> blocks;  // of all four levels, in order
  std::optional<Linear> fc;

  ResNext(const Params& p, const ResNextConfig& config);
  /// Images [N, H, W, 3] -> globally averaged features [N, features()].
  Tensor features(const Tensor& images) const;
  /// Images [N, H, W, 3] -> logits [N, classes].
  Tensor operator()(const Tensor& images) const;
};

}  // namespace weft
