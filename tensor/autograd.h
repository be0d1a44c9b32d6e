// The tape. An op computes its result and hands record() a lambda that turns the result's gradient into its inputs' gradients.
// The lambda's captures are what the op saves. Only the tape adds gradients up.
#pragma once

#include <functional>
#include <string>

#include "tensor/tensor.h"

namespace weft {

/// Takes dL/dy, returns dL/dx for every input in order; an undefined Tensor stands for "not needed".
using Backward = std::function<Tensors(const Tensor& dy)>;

struct TapeNode {
  const char* name;
  uint64_t order;  // later ops have higher numbers
  std::vector<std::shared_ptr<GradientSlot>> inputs;  // null where no gradient is needed
  std::vector<std::pair<Shape, DType>> input_types;
  Backward backward;
  GradientSlot* output;
};

/// What the tape knows of one tensor value: who made it, and the gradient that has arrived so far.
struct GradientSlot {
  Tensor gradient;
  std::shared_ptr<TapeNode> producer;  // null for a leaf
  std::string no_gradient_reason;      // set by no_gradient()
  bool requires_grad = true;
};

bool grad_enabled();

namespace tape {
Tensor append(const char* name, Tensor y, const Tensor* inputs, size_t count, Backward backward);
bool any_needs_grad(const Tensor* inputs, size_t count);
}  // namespace tape

/// Ends a differentiable op: returns y, on the tape if any input needs a gradient. `backward` returns one gradient an input, each
/// with that input's shape and dtype. What it captures must be taken from before this call (y without its place on the tape).
template <class F>
Tensor record(const char* name, Tensor y, std::initializer_list<Tensor> inputs, F&& backward) {
  if (!tape::any_needs_grad(inputs.begin(), inputs.size())) return y;
  return tape::append(name, std::move(y), inputs.begin(), inputs.size(), std::forward<F>(backward));
}
template <class F>
Tensor record(const char* name, Tensor y, const Tensors& inputs, F&& backward) {
  if (!tape::any_needs_grad(inputs.data(), inputs.size())) return y;
  return tape::append(name, std::move(y), inputs.data(), inputs.size(), std::forward<F>(backward));
}

/// Ends an op without a gradient; backward() from a value that only such ops made says why.
Tensor no_gradient(const char* name, Tensor y, const char* reason);

/// Adds dL/dx to the gradient of every leaf that `loss` (one element) depends on. Frees the tape as it goes: once per forward pass.
/// `scale` is dL/dloss, such as 1 / accumulation steps.
void backward(const Tensor& loss, double scale = 1);
/// The same from a tensor of any shape with its gradient given.
void backward(const Tensor& y, const Tensor& dy);

/// into += g, in place. Same shape; floating dtypes, which may differ.
void accumulate(const Tensor& into, const Tensor& g);

/// dy summed over the axes along which an input of `shape` was broadcast (numpy's rules): the one place that undoes broadcasting.
Tensor unbroadcast(const Tensor& dy, const Shape& shape);

/// While alive, nothing is recorded.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;

 private:
  bool before_;
};

/// While alive, layers behave as in training (dropout draws, batch norm uses the batch's statistics). Off by default.
class Training {
 public:
  explicit Training(bool on = true);
  ~Training();
  Training(const Training&) = delete;
  static bool active();

 private:
  bool before_;
};

}  // namespace weft
