// The course of a training: kept as a table, drawn as a picture.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/image.h"

namespace weft {

/// One average over some steps of one UNet: its loss, and what predicting zeros would have given.
struct LossPoint {
  int64_t step = 0, unet = 0;
  double loss = 0, zero_loss = 0;
};

/// A CSV (step,unet,loss,zero_loss), written whole or not at all.
void save_losses(const std::filesystem::path& file, const std::vector<LossPoint>& points);
/// Reads it back up to a step. Throws std::runtime_error naming file and line.
std::vector<LossPoint> load_losses(const std::filesystem::path& file, int64_t last_step);

/// Losses over steps, one line a UNet, the loss on a logarithmic axis; dotted in grey what predicting zeros would give.
Image loss_plot(const std::vector<LossPoint>& points, const std::string& title);

}  // namespace weft
