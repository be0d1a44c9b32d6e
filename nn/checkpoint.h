// A training that can be taken up again: one safetensors file, replaced atomically, after which the training goes on to
// the same bytes as if it had never stopped.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "nn/optimizers.h"
#include "tensor/philox.h"

namespace weft {

/// Where a training stands, between two optimiser steps.
struct TrainingState {
  int64_t step = 0;                            // optimiser steps done
  int64_t epoch = 0, batch = 0;                // of the next batch
  Random random;                               // the generator of dropout and the like
  std::map<std::string, std::string> notes{};  // the program's own, such as its settings
  bool operator==(const TrainingState&) const = default;
};

/// Writes trainable parameters, all buffers, the optimiser, the average (`ema` may be null) and where the training
/// stands. Frozen parameters are left out: they come from where they first came from. A crash or an error
/// (std::runtime_error, one line, such as a full disk) leaves the file that was there.
void save_checkpoint(const std::filesystem::path& path, const ParameterSet& set, const Optimizer& optimizer,
                     const Ema* ema, const TrainingState& state);

/// Puts everything back and returns where the training stood. Parameters, optimiser and `ema` must be made as they were
/// for saving. The file is checked as a whole before anything is changed; errors (std::runtime_error) name file and
/// tensor or key.
TrainingState load_checkpoint(const std::filesystem::path& path, const ParameterSet& set, Optimizer& optimizer,
                              Ema* ema);

}  // namespace weft
