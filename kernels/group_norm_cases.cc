#include "kernels/group_norm.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Op cases() {
  Op room{"group_norm"};
  const auto run = [](int groups) -> Run { return [groups](const Tensors& x) { return group_norm(x[0], groups, x[1], x[2]); }; };
  const auto inputs = [](const Shape& shape, double low = -2, double high = 2) {
    return std::vector<Input>{activation(shape, low, high), parameter({shape[-1]}, 0.5, 1.5), parameter({shape[-1]}, -1, 1)};
  };
  for (const auto& [shape, groups] : {std::pair<Shape, int>{{1, 31}, 1}, {{3, 5, 7, 6}, 3}, {{2, 4, 4, 33}, 11}, {{2, 127, 32}, 8}, {{1, 40, 40, 16}, 4},
                                      {{5, 1, 1, 12}, 2}, {{0, 3, 3, 4}, 2}, {{2, 0, 4}, 2}, {{1, 3, 4100}, 4}, {{3, 9, 8}, 8}}) {
    room.cases.push_back({fmt::format("{} in {}", shape, groups), inputs(shape), run(groups)});
  }
  // One unit of f64 at 10,000 is 2e-12, which a step of 1e-6 turns into 2e-6 of slope.
  room.cases.push_back({"mean 10,000 [2, 9, 9, 24] in 4", inputs({2, 9, 9, 24}, 9900, 10100), run(4), 1e-5, 0x1p-7, 1e-4});
  // Bytes: a sample stays in the caches between its two passes, so x is read and y written once (2); backward reads x and dy and writes dx (3).
  for (const Shape& shape : {Shape{128, 64, 64, 32}, Shape{128, 64, 64, 64}, Shape{128, 16, 16, 256}}) {
    const double n = shape.numel();
    room.benches.push_back({fmt::format("{} in 8", shape), inputs(shape), run(8), 2 * n});
    room.benches.push_back({fmt::format("{} in 8, with backward", shape), inputs(shape), run(8), 5 * n, 0, true});
  }
  const Tensor x = Tensor::zeros({4, 5, 6}), c = Tensor::zeros({6});
  room.misuses.push_back({"one axis", [c] { group_norm(c, 2, c, c); }, "[group_norm] x must have at least 2 axes but has shape [6]"});
  room.misuses.push_back({"four groups", [=] { group_norm(x, 4, c, c); }, "[group_norm] the groups must divide the 6 channels but are 4"});
  room.misuses.push_back({"no groups", [=] { group_norm(x, 0, c, c); }, "[group_norm] the groups must divide the 6 channels but are 0"});
  room.misuses.push_back({"wrong weight", [=] { group_norm(x, 2, Tensor::zeros({5}), c); }, "[group_norm] weight must be f32 [6] but is f32 [5]"});
  return room;
}

Op silu_cases() {
  Op room{"group_norm_silu"};
  const auto run = [](int groups) -> Run {
    return [groups](const Tensors& x) {
      return x.size() > 3 ? group_norm_silu(x[0], groups, x[1], x[2], x[3], x[4]) : group_norm_silu(x[0], groups, x[1], x[2]);
    };
  };
  const auto inputs = [](const Shape& shape, bool modulated) {
    std::vector<Input> list{activation(shape, -2, 2), parameter({shape[-1]}, 0.5, 1.5), parameter({shape[-1]}, -1, 1)};
    if (modulated) list.insert(list.end(), {activation({shape[0], shape[-1]}, -1, 1), activation({shape[0], shape[-1]}, -2, 2)});
    return list;
  };
  // The backward makes the norm, scale and shift again and rounds after each, which SiLU's slope sees: up to 1.6 % in bf16.
  constexpr double f32 = 1e-5, bf16 = 0.024;
  for (const auto& [shape, groups] : {std::pair<Shape, int>{{3, 5, 7, 6}, 3}, {{2, 4, 4, 33}, 11}, {{2, 127, 32}, 8}, {{1, 40, 40, 16}, 4},
                                      {{0, 3, 3, 4}, 2}, {{2, 0, 4}, 2}, {{1, 3, 4100}, 4}}) {
    room.cases.push_back({fmt::format("{} in {}", shape, groups), inputs(shape, false), run(groups)});
    room.cases.push_back({fmt::format("{} in {}, scale and shift", shape, groups), inputs(shape, true), run(groups), f32, bf16});
  }
  // Far ends of the sigmoid.
  std::vector<Input> far = inputs({2, 9, 9, 24}, true);
  far[4] = activation({2, 24}, -150, 150);
  room.cases.push_back({"shifts of 150 [2, 9, 9, 24] in 4", far, run(4), f32, bf16});
  // Bytes as those of group_norm; the backward makes the norm and what follows again (4 passes of 2) before its own way back (3 + 5).
  for (const Shape& shape : {Shape{128, 64, 64, 32}, Shape{2, 128, 128, 128}, Shape{128, 16, 16, 256}}) {
    const double n = shape.numel();
    room.benches.push_back({fmt::format("{} in 8", shape), inputs(shape, true), run(8), 2 * n});
    room.benches.push_back({fmt::format("{} in 8, with backward", shape), inputs(shape, true), run(8), 18 * n, 0, true});
  }
  const Tensor x = Tensor::zeros({4, 5, 6}), c = Tensor::zeros({6}), m = Tensor::zeros({4, 6});
  room.misuses.push_back({"scale alone", [=] { group_norm_silu(x, 2, c, c, m); }, "[group_norm_silu] scale and shift must be given together"});
  room.misuses.push_back({"wrong shift", [=] { group_norm_silu(x, 2, c, c, m, c); }, "[group_norm_silu] shift must be f32 [4, 6] but is f32 [6]"});
  room.misuses.push_back({"four groups", [=] { group_norm_silu(x, 4, c, c); }, "[group_norm_silu] the groups must divide the 6 channels but are 4"});
  return room;
}

const Register group_norm_room(cases());
const Register group_norm_silu_room(silu_cases());

}  // namespace

}  // namespace weft::op_check
