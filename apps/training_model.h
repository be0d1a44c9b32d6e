// The model of a training: made from the options and the data, saved as a model folder.
#pragma once

#include <memory>
#include <optional>

#include "apps/classifier.h"
#include "apps/text_cache.h"
#include "apps/training.h"

namespace weft {

struct TrainingModel {
  Classifier classifier;
  std::optional<TokenTable> tokens;  // of an EmbraceNet
  std::unique_ptr<TextCache> cache;  // of a frozen text encoder's features, else null

  /// From scratch or from the folders that the options name; fills in what follows from the data and those folders.
  /// Nothing is written.
  static TrainingModel make(TrainingOptions& options, const CommonOptions& common, const GlamiTable& table);
  /// For a frozen text encoder: puts it into the model folder, with its outputs for all texts.
  void prepare_cache(const TrainingOptions& options, const CommonOptions& common, const GlamiTable& table);
  /// Writes the model folder.
  void save(const TrainingOptions& options) const;
};

}  // namespace weft
