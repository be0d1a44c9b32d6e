// Updates of parameters from their gradients. Each reads and writes every element once, in parallel over the whole set,
// on f32 masters (f64 in tests); formulas are PyTorch's. Gradients of several backward() calls add up on the tape, so
// accumulation over n batches is backward(loss, 1.0 / n) n times, then one step() and clear_gradients().
#pragma once

#include <string>
#include <vector>

#include "nn/params.h"

namespace weft {

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;

  /// One update. Parameters without a gradient stay as they are, with their state; an error if none has one.
  void step(double learning_rate);
  /// For a step() that is in a graph (tensor/cuda_graph.h): what its next launches use.
  void set_learning_rate(double learning_rate);
  /// "sgd", "adam", "adamw".
  virtual const char* name() const = 0;
  /// All state under names of its own, sharing memory: what a checkpoint keeps.
  std::vector<NamedTensor> state() const;

 protected:
  /// `slots` are the names of the tensors kept beside every parameter, zero at first.
  Optimizer(const ParameterSet& set, std::vector<std::string> slots);
  /// Updates elements [begin, end) of one parameter; called in parallel on disjoint ranges.
  virtual void update(size_t parameter, int64_t begin, int64_t end) = 0;
  /// Updates all parameters that have a gradient, on the cuda device.
  virtual void update_cuda() = 0;
  /// Whether the parameters are there; they must all be on one device.
  bool on_cuda() const;

  std::vector<Parameter> parameters_;
  std::vector<std::string> slot_names_;
  std::vector<Tensors> slots_;  // [slot][parameter]
  Tensor steps_;                // i64 [parameters], updates so far
  double learning_rate_ = 0;
};

struct SgdOptions {
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;  // added to the gradient: weight_decay * w
};

/// v = momentum v + g; w -= learning_rate v (with Nesterov: g + momentum v in place of v).
class Sgd : public Optimizer {
 public:
  explicit Sgd(const ParameterSet& set, const SgdOptions& options = {});
  const char* name() const override { return "sgd"; }

 private:
  void update(size_t parameter, int64_t begin, int64_t end) override;
  void update_cuda() override;
  SgdOptions options_;
};

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0;  // of the parameters marked for decay
};

/// Kingma and Ba 2015: m, v are running means of g and g^2; w -= learning_rate m^ / (sqrt(v^) + eps), m^ and v^ without
/// their bias towards zero. Weight decay is added to the gradient.
class Adam : public Optimizer {
 public:
  explicit Adam(const ParameterSet& set, const AdamOptions& options = {});
  const char* name() const override { return "adam"; }

 protected:
  Adam(const ParameterSet& set, const AdamOptions& options, bool decoupled);

 private:
  void update(size_t parameter, int64_t begin, int64_t end) override;
  void update_cuda() override;
  AdamOptions options_;
  bool decoupled_ = false;
};

/// Loshchilov and Hutter 2019: Adam whose weight decay, w -= learning_rate weight_decay w, stays out of m and v.
class AdamW : public Adam {
 public:
  explicit AdamW(const ParameterSet& set, const AdamOptions& options = {.weight_decay = 0.01})
      : Adam(set, options, true) {}
  const char* name() const override { return "adamw"; }
};

/// The norm of all gradients together.
class GradientNorm {
 public:
  GradientNorm(Tensor found, std::vector<std::string> names) : found_(std::move(found)), names_(std::move(names)) {}
  /// Waits for the device. A gradient that was not finite is a std::runtime_error naming the first such parameter.
  double value() const;

 private:
  Tensor found_;  // f64 [2]: the norm, and which of the names has a gradient that is not finite, or -1
  std::vector<std::string> names_;
};

/// Scales all gradients so that the norm of them together is at most `max_norm`, and returns the norm before, without
/// waiting for it. The sum is taken in f64 in a fixed order. Gradients that are not finite are left as they are.
GradientNorm clip_gradients(const ParameterSet& set, double max_norm);
/// The same, with the norm's value and its error.
double clip_by_global_norm(const ParameterSet& set, double max_norm);

/// Exponential moving average of the trainable parameters: average += (1 - d) (parameter - average).
class Ema {
 public:
  /// d = decay, or with `warm_up` min(decay, (1 + n) / (10 + n)) at update n = 0, 1, ..
  Ema(const ParameterSet& set, double decay, bool warm_up = false);
  Ema(const Ema&) = delete;

  /// To be called after every optimiser step.
  void update();
  std::vector<NamedTensor> state() const;

  /// While alive, the averages are in the place of the parameters (for evaluation or saving).
  class Applied {
   public:
    explicit Applied(Ema& ema) : ema_(ema) { ema_.swap(); }
    ~Applied() { ema_.swap(); }
    Applied(const Applied&) = delete;

   private:
    Ema& ema_;
  };

 private:
  void swap();
  std::vector<Parameter> parameters_;
  Tensors averages_;
  Tensor updates_;  // i64 []
  double rest_ = 0;  // 1 - d of the present update
  double decay_;
  bool warm_up_;
};

}  // namespace weft
