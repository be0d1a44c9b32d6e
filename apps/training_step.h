// One step of weft-train embracenet or resnext, from a batch to changed parameters: op by op, or as a recorded CUDA
// graph.
#pragma once

#include <optional>
#include <vector>

#include "apps/classifier.h"
#include "apps/text_cache.h"
#include "apps/training.h"
#include "data/loader.h"
#include "nn/optimizers.h"
#ifdef WEFT_HAS_CUDA
#include "tensor/cuda_graph.h"
#endif

namespace weft {

/// What a step works on.
struct TrainingParts {
  const TrainingOptions& options;
  const Classifier& classifier;
  const GlamiTable& table;
  const TokenTable* tokens;  // of an EmbraceNet, else null
  const TextCache* cache;  // of a frozen text encoder's features, else null
  Optimizer& optimizer;
  Ema* ema;  // or null
  Random& random;
  DType dtype;
};

class TrainingStep {
 public:
  explicit TrainingStep(const TrainingParts& parts) : p_(parts) {}

  /// One update; returns the batch's loss. A loss or gradient that is not finite is an error that names `step`. With
  /// options.graph, whole batches after the first are launches of one recorded graph.
  double operator()(const Batch& batch, int64_t step, double learning_rate);

 private:
  // What a step reads of a batch, on the host.
  struct TextInputs {
    Tensor ids, mask;  // or
    Tensor cached;     // features of a frozen text encoder
  };
  struct StepInputs {
    Tensor images, image_of_item, source, labels, weights;
  };
  bool one_text_shape() const;
  TextInputs inputs_of_texts(const std::vector<uint32_t>& items);
  StepInputs inputs_of(const Batch& batch);
  Tensor random_single_modality(int64_t rows);

  const EmbraceNetClassifier& embracenet() const { return *p_.classifier.embracenet; }
  const ParameterSet& parameters() const { return *p_.classifier.parameters; }
  std::vector<uint32_t> text_rows(const Batch& batch);
  Tensor text_features(const std::vector<uint32_t>& items);
  Tensor text_features(const TextInputs& texts);
  Tensor loss(const Tensor& text_features, const StepInputs& in);
  Tensor joint_loss(const Tensor& text_features, const StepInputs& in);
  Tensor images_of(const StepInputs& in) const;
  double eager_step(const Batch& batch, int64_t step, double learning_rate);
  double recorded_step(const Batch& batch, int64_t step, double learning_rate);
  bool can_be_recorded(const Batch& batch) const;
  double checked_loss(double loss, const Batch& batch, int64_t step) const;

  TrainingParts p_;
  bool ran_eagerly_ = false;  // one whole batch, which comes before recording
#ifdef WEFT_HAS_CUDA
  struct Recorded {
    TextInputs texts;
    StepInputs in;
    Tensor loss;
    std::optional<GradientNorm> norm;
    std::optional<cuda::Graph> graph;
  };
  std::optional<Recorded> recorded_;
#endif
};

}  // namespace weft
