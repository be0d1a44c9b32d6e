// The first minutes of a cascade's training: the text's way into the first UNet learns what things look like.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "data/glami.h"
#include "models/cascade.h"
#include "nn/params.h"
#include "tensor/philox.h"

namespace weft {

struct SketchTraining {
  int64_t steps = 0, batch = 256;  // 0 steps: none
  double peak_rate = 2e-3;         // falls to 0 along a cosine
  int64_t max_broken = 100;        // pictures that may be unreadable
  bool quiet = false;

  /// Distinct pictures that are learned from, at most: they are kept in memory, 3 KiB each at 32 pixels.
  static constexpr int64_t pictures = 50000;
};

/// The texts of some items, through the text encoder.
using EncodeItems = std::function<TextBatch(const std::vector<uint32_t>& items, Random& random)>;

/// Moves the parameters on the way from the text to the layout (Unet::sketch) until the layout shows the mean picture
/// of a text. A step costs a hundredth of one of diffusion, and diffusion's own loss, in which the text counts only
/// where the noise hides nearly everything, teaches the same slowly: docs/text-to-image.md. Returns the loss of the
/// last steps. The same bytes from the same seed; an interrupt throws and leaves nothing behind.
double train_sketch(const Cascade& cascade, const ParameterSet& parameters, const GlamiTable& table,
                    const EncodeItems& encode, uint64_t seed, const SketchTraining& options);

}  // namespace weft
