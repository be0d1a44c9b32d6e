#include "kernels/arithmetic.h"
#include "kernels/reduce.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

const Shape large{1 << 16, 512};

Op sum_cases(const std::string& name, Tensor (*all)(const Tensor&), Tensor (*along)(const Tensor&, int, bool)) {
  Op room{name};
  // Values of one sign, since the rounding of a sum is relative to its terms.
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{3, 31}, Shape{4099}, Shape{2, 3, 129}}) {
    room.cases.push_back(
        {fmt::format("all of {}", shape), {activation(shape, 0.5, 2)}, [all](const Tensors& x) { return all(x[0]); }});
  }
  const std::pair<Shape, int> axes[] = {{{1}, 0},         {{33}, -1},         {{3, 31}, 0}, {{3, 31}, 1},
                                        {{2, 127, 5}, 1}, {{2, 3, 4, 5}, -3}, {{0, 7}, 1},  {{4099, 3}, 0},
                                        {{3, 4099}, 1},   {{2, 3, 1000}, 1}};
  for (const auto& [shape, axis] : axes) {
    for (bool keep : {false, true}) {
      room.cases.push_back({fmt::format("{} axis {} {}", shape, axis, keep ? "kept" : "dropped"),
                            {activation(shape, 0.5, 2)},
                            [along, axis = axis, keep](const Tensors& x) { return along(x[0], axis, keep); }});
    }
  }
  room.benches.push_back({fmt::format("all of {}", large),
                          {activation(large)},
                          [all](const Tensors& x) { return all(x[0]); },
                          1.0 * large.numel()});
  for (int axis : {0, 1}) {
    const Run run = [along, axis](const Tensors& x) { return along(x[0], axis, false); };
    room.benches.push_back({fmt::format("{} axis {}", large, axis), {activation(large)}, run, 1.0 * large.numel()});
    room.benches.push_back(
        {fmt::format("{} axis {} with backward", large, axis), {activation(large)}, run, 2.0 * large.numel(), 0, true});
  }
  room.misuses.push_back({"axis",
                          [along] {
                            along(Tensor::zeros({2, 3}), 2, false);
                          },
                          fmt::format("[{}] the axis must lie in [-2, 2) but is 2 for shape [2, 3]", name)});
  room.misuses.push_back({"undefined", [all] { all(Tensor()); }, fmt::format("[{}] x is undefined", name)});
  return room;
}

Input distinct(const Shape& shape) {
  Input input = activation(shape);
  input.distinct = true;
  return input;
}

Op max_cases() {
  Op room{"max"};
  const std::pair<Shape, int> axes[] = {{{1}, 0},        {{33}, -1},  {{3, 31}, 0},  {{3, 31}, 1},
                                        {{2, 16, 7}, 1}, {{0, 7}, 1}, {{2, 0, 3}, 2}};
  for (const auto& [shape, axis] : axes) {
    for (bool keep : {false, true}) {
      room.cases.push_back({fmt::format("{} axis {} {}", shape, axis, keep ? "kept" : "dropped"),
                            {distinct(shape)},
                            [axis = axis, keep](const Tensors& x) { return max(x[0], axis, keep); }});
    }
  }
  // Of equal maxima the first has the gradient: the second is constant here.
  room.cases.push_back(
      {"ties", {activation({3, 5})}, [](const Tensors& x) { return max(x[0] * 0 + 1, 1) + max(x[0], 1); }});
  for (int axis : {0, 1}) {
    room.benches.push_back({fmt::format("{} axis {}", large, axis),
                            {activation(large)},
                            [axis](const Tensors& x) { return max(x[0], axis); },
                            1.0 * large.numel()});
  }
  room.misuses.push_back({"empty axis",
                          [] {
                            max(Tensor::zeros({2, 0}), 1);
                          },
                          "[max] the axis must have at least 1 element but the shape is [2, 0]"});
  room.misuses.push_back(
      {"axis", [] { max(Tensor::zeros({}), 0); }, "[max] the axis must lie in [-0, 0) but is 0 for shape []"});
  return room;
}

Op argmax_cases() {
  Op room{"argmax"};
  const std::pair<Shape, int> axes[] = {{{1}, 0},        {{33}, -1},  {{3, 31}, 0},   {{3, 31}, 1},
                                        {{2, 16, 7}, 1}, {{0, 7}, 1}, {{5, 1000}, -1}};
  for (const auto& [shape, axis] : axes) {
    room.cases.push_back({fmt::format("{} axis {}", shape, axis),
                          {distinct(shape)},
                          [axis = axis](const Tensors& x) { return argmax(x[0], axis); },
                          0,
                          0,
                          1e-6,
                          false});
  }
  room.benches.push_back({fmt::format("{}", large),
                          {activation(large)},
                          [](const Tensors& x) { return argmax(x[0]); },
                          1.0 * large.numel()});
  room.misuses.push_back({"empty axis",
                          [] {
                            argmax(Tensor::zeros({2, 0}));
                          },
                          "[argmax] the axis must have at least 1 element but the shape is [2, 0]"});
  return room;
}

Op topk_cases() {
  Op room{"topk"};
  const std::pair<Shape, int64_t> sizes[] = {{{1}, 1}, {{3, 31}, 5}, {{3, 32}, 32}, {{2, 3, 33}, 1}, {{0, 7}, 2}};
  for (const auto& [shape, k] : sizes) {
    room.cases.push_back({fmt::format("values {} k {}", shape, k), {distinct(shape)}, [k = k](const Tensors& x) {
                            return topk(x[0], k).values;
                          }});
    room.cases.push_back({fmt::format("indices {} k {}", shape, k),
                          {distinct(shape)},
                          [k = k](const Tensors& x) { return topk(x[0], k).indices; },
                          0,
                          0,
                          1e-6,
                          false});
  }
  room.benches.push_back({"[128, 250112] k 50",
                          {activation({128, 250112})},
                          [](const Tensors& x) { return topk(x[0], 50).values; },
                          128.0 * 250112});
  room.misuses.push_back({"k",
                          [] {
                            topk(Tensor::zeros({2, 3}), 4);
                          },
                          "[topk] k must lie in [1, 3] but is 4 for shape [2, 3]"});
  return room;
}

const Register sum_room(sum_cases("sum", sum, sum));
const Register mean_room(sum_cases("mean", mean, mean));
const Register max_room(max_cases());
const Register argmax_room(argmax_cases());
const Register topk_room(topk_cases());

}  // namespace

}  // namespace weft::op_check
