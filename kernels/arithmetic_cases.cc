#include "kernels/arithmetic.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Input away_from_zero(const Shape& shape) {
  Input input = activation(shape);
  input.kinks = {0};
  return input;
}

Op binary_cases(const std::string& name, Tensor (*op)(const Tensor&, const Tensor&)) {
  Op room{name};
  const bool quotient = name == "div";
  const auto inputs = [quotient](const Shape& a, const Shape& b) -> std::vector<Input> {
    return {activation(a), quotient ? activation(b, 0.5, 2) : activation(b)};
  };
  const Run run = [op](const Tensors& x) { return op(x[0], x[1]); };
  const std::pair<Shape, Shape> pairs[] = {{{}, {}},
                                           {{1}, {1}},
                                           {{3, 31}, {3, 31}},
                                           {{4099}, {4099}},
                                           {{0, 7}, {0, 7}},
                                           {{33, 127}, {127}},
                                           {{127}, {33, 127}},
                                           {{5, 1}, {1, 33}},
                                           {{2, 3, 32}, {2, 1, 32}},
                                           {{2, 1, 5, 1}, {3, 1, 129}},
                                           {{7, 33}, {}},
                                           {{7, 33}, {7, 1}},
                                           {{0, 3}, {3}},
                                           {{2, 3, 4, 5, 2, 3}, {3, 1, 5, 1, 3}},
                                           {{1}, {1, 1, 1}}};
  for (const auto& [a, b] : pairs) room.cases.push_back({fmt::format("{} {}", a, b), inputs(a, b), run});
  for (Case& c : room.cases) {
    // The gradient is one sum over everything, which may nearly cancel: measured 1.1e-5.
    if (c.inputs[1].shape.rank() == 0) c.f32 = 1e-4;
  }
  room.cases.push_back(
      {"one tensor twice", {away_from_zero({3, 33})}, [op](const Tensors& x) { return op(x[0], x[0]); }});
  if (name == "sub" || quotient) room.cases.pop_back();  // constant there: the gradient is rounding only

  const Shape large{1 << 16, 512};
  room.benches.push_back({fmt::format("{}", large), inputs(large, large), run, 3.0 * large.numel()});
  room.benches.push_back({fmt::format("{} {}", large, Shape{512}), inputs(large, {512}), run, 2.0 * large.numel()});
  room.benches.push_back(
      {fmt::format("{} {}", large, Shape{1 << 16, 1}), inputs(large, {1 << 16, 1}), run, 2.0 * large.numel()});
  // add: the gradient of a is dy itself. The others: mul 3 x 3, div 3 + 3 + 3, sub 3 + 2.
  const double moved = name == "add" ? 4 : name == "sub" ? 5 : 9;
  room.benches.push_back(
      {fmt::format("{} with backward", large), inputs(large, large), run, moved * large.numel(), 0, true});
  room.benches.push_back(
      {"[128, 32, 32, 64]", inputs({128, 32, 32, 64}, {128, 32, 32, 64}), run, 3.0 * (128 * 32 * 32 * 64)});

  room.misuses.push_back({"shapes",
                          [op] {
                            op(Tensor::zeros({2, 3}), Tensor::zeros({2}));
                          },
                          fmt::format("[{}] the shapes must be equal or broadcast but are [2, 3] and [2]", name)});
  room.misuses.push_back({"dtypes", [op] { op(Tensor::zeros({3}), Tensor::zeros({3}, DType::bf16)); },
                          fmt::format("[{}] the dtypes must be equal but are f32 and bf16", name)});
  room.misuses.push_back({"integers", [op] { op(Tensor::zeros({3}, DType::i64), Tensor::zeros({3}, DType::i64)); },
                          fmt::format("[{}] the dtype must be f32, bf16 or f64 but is i64", name)});
  room.misuses.push_back(
      {"undefined", [op] { op(Tensor(), Tensor::zeros({3})); }, fmt::format("[{}] an input is undefined", name)});
  return room;
}

// Operators with a number on either side.
Op scalar_cases() {
  Op room{"scalar"};
  const auto add_case = [&](const std::string& name, const Input& input, Tensor (*op)(const Tensor&)) {
    room.cases.push_back({name, {input}, [op](const Tensors& x) { return op(x[0]); }});
  };
  add_case("x + 2", activation({3, 33}), [](const Tensor& x) { return x + 2; });
  add_case("2 + x", activation({33}), [](const Tensor& x) { return 2 + x; });
  add_case("x - 2", activation({33}), [](const Tensor& x) { return x - 2; });
  add_case("2 - x", activation({33}), [](const Tensor& x) { return 2 - x; });
  add_case("x * 3", activation({4099}), [](const Tensor& x) { return x * 3; });
  add_case("3 * x", activation({0}), [](const Tensor& x) { return 3 * x; });
  add_case("x / 3", activation({33}), [](const Tensor& x) { return x / 3; });
  add_case("3 / x", activation({33}, 0.5, 2), [](const Tensor& x) { return 3 / x; });
  add_case("-x", activation({}), [](const Tensor& x) { return -x; });
  add_case("x * x - 2 * x", activation({129}), [](const Tensor& x) { return x * x - 2 * x; });
  room.cases.back().bf16 = 0x1p-6;  // two roundings of up to 4 before the sum, measured 0.009
  const Shape large{1 << 25};
  room.benches.push_back(
      {"3 * x", {activation(large)}, [](const Tensors& x) { return 3 * x[0]; }, 2.0 * large.numel()});
  room.misuses.push_back({"undefined", [] { mul(Tensor(), 2); }, "[mul] x is undefined"});
  return room;
}

const Register add_room(binary_cases("add", add));
const Register sub_room(binary_cases("sub", sub));
const Register mul_room(binary_cases("mul", mul));
const Register div_room(binary_cases("div", div));
const Register scalar_room(scalar_cases());

}  // namespace

}  // namespace weft::op_check
