// What the author of a room writes for op_check: sample inputs, how to run the op, sizes to time, messages of misuse.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace weft::op_check {

/// How one input is drawn.
struct Input {
  enum class Kind {
    activation,  // has the dtype under test
    parameter,   // f32 beside bf16 activations, else the dtype under test
    index,       // i64 in [low, high)
    boolean,     // true with probability `high`
  };
  Shape shape;
  Kind kind = Kind::activation;
  double low = -2, high = 2;
  std::vector<double> kinks = {};  // values that are kept 1e-3 away from (0.02 in bf16), where the op has no derivative
  bool gradient = true;            // whether dL/dinput is checked
  bool distinct = false;           // evenly spaced values in random order, so that a maximum is unique
};

inline Input activation(Shape shape, double low = -2, double high = 2) { return {shape, Input::Kind::activation, low, high}; }
inline Input parameter(Shape shape, double low = -2, double high = 2) { return {shape, Input::Kind::parameter, low, high}; }
inline Input indices(Shape shape, int64_t below) { return {shape, Input::Kind::index, 0, static_cast<double>(below), {}, false}; }
inline Input booleans(Shape shape, double probability = 0.7) { return {shape, Input::Kind::boolean, 0, probability, {}, false}; }

using Run = std::function<Tensor(const Tensors&)>;

/// One configuration of an op: compared with f64 truth forward and backward in every dtype, and its f64 backward with central differences.
/// Tolerances are rtol in |a - b| <= rtol (|b| + max |b|); a looser one than the default carries the measured error in a comment.
struct Case {
  std::string name;
  std::vector<Input> inputs;
  Run run;
  double f32 = 1e-5;
  double bf16 = 0x1p-7;
  double grad = 1e-6;            // central differences in f64
  bool differentiable = true;    // false: the op ends in no_gradient()
  bool half = true;              // false: the op has no bf16 form
};

/// One size to time. `work` says what one call costs, so that a rate can be printed.
struct Bench {
  std::string name;
  std::vector<Input> inputs;
  Run run;
  double bytes = 0;  // moved at least, for an element size of 1 byte (multiplied by the dtype's)
  double flops = 0;  // 0: bound by memory, the ceiling is the machine's copy bandwidth
  bool backward = false;  // times forward and backward together
  /// For ops bound by arithmetic: makes the plain library call of the same work, which is then the ceiling.
  std::function<std::function<void()>(DType)> peer = nullptr;
};

/// A misuse and its exact message.
struct Misuse {
  std::string name;
  std::function<void()> run;
  std::string message;
};

struct Op {
  std::string name;
  std::vector<Case> cases = {};
  std::vector<Bench> benches = {};
  std::vector<Misuse> misuses = {};
};

/// All ops, sorted by name.
std::vector<Op>& ops();

/// A static of this type in kernels/NAME_cases.cc registers a room's cases.
struct Register {
  explicit Register(Op op);
};

}  // namespace weft::op_check
