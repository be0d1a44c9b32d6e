#include "kernels/activation.h"
#include "kernels/arithmetic.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Op activation_cases(const std::string& name, Tensor (*op)(const Tensor&), double low = -5, double high = 5) {
  Op room{name};
  const Run run = [op](const Tensors& x) { return op(x[0]); };
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{3, 31}, Shape{2, 33}, Shape{0, 7}, Shape{129}, Shape{4099}}) {
    // An error is measured against the largest element, so a single one must not be a value or a slope that nearly
    // vanishes.
    Input input = shape.numel() == 1 ? activation(shape, 0.25, 0.75) : activation(shape, low, high);
    if (name == "relu") input.kinks = {0};
    room.cases.push_back({fmt::format("{}", shape), {input}, run});
  }
  for (Case& c : room.cases) {
    // The slope, y (1 - y) or 1 - y y, is taken from a y that was rounded to bf16: measured 0.0085 and 0.0096.
    if (name == "sigmoid" || name == "tanh") c.bf16 = 0x1p-6;
  }
  const Shape large{1 << 25}, image{128, 32, 32, 64};
  for (const Shape& shape : {large, image}) {
    room.benches.push_back({fmt::format("{}", shape), {activation(shape, low, high)}, run, 2.0 * shape.numel()});
    room.benches.push_back(
        {fmt::format("{} with backward", shape), {activation(shape, low, high)}, run, 5.0 * shape.numel(), 0, true});
  }
  room.misuses.push_back({"undefined", [op] { op(Tensor()); }, fmt::format("[{}] x is undefined", name)});
  room.misuses.push_back({"integers", [op] { op(Tensor::zeros({3}, DType::i64)); },
                          fmt::format("[{}] the dtype must be f32, bf16 or f64 but is i64", name)});
  return room;
}

const Register relu_room(activation_cases("relu", relu));
const Register gelu_room(activation_cases("gelu", gelu));
const Register gelu_tanh_room(activation_cases("gelu_tanh", gelu_tanh));
const Register silu_room(activation_cases("silu", silu));
const Register sigmoid_room(activation_cases("sigmoid", sigmoid));
const Register tanh_room(activation_cases("tanh", tanh));
const Register exp_room(activation_cases("exp", exp));
const Register log_room(activation_cases("log", log, 0.1, 10));
const Register sin_room(activation_cases("sin", sin));
const Register cos_room(activation_cases("cos", cos));

Op activate_cases() {
  Op room{"activate"};
  const std::pair<const char*, Activation> all[] = {{"none", Activation::none},
                                                    {"relu", Activation::relu},
                                                    {"gelu", Activation::gelu},
                                                    {"gelu_tanh", Activation::gelu_tanh},
                                                    {"silu", Activation::silu}};
  for (const auto& [name, kind] : all) {
    Input input = activation({3, 33});
    input.kinks = {0};
    // Once more by 1, so that `none` too returns a new tensor.
    room.cases.push_back({name, {input}, [kind = kind](const Tensors& x) { return activate(x[0] * 1, kind); }});
  }
  return room;
}

Op gated_cases() {
  Op room{"gated_gelu_tanh"};
  const Run run = [](const Tensors& x) { return gated_gelu_tanh(x[0], x[1]); };
  for (const Shape& shape : {Shape{}, Shape{3, 31}, Shape{2, 3, 33}, Shape{0, 7}, Shape{4099}}) {
    room.cases.push_back(
        {fmt::format("{}", shape),
         {shape.numel() == 1 ? activation(shape, 0.25, 1) : activation(shape, -5, 5), activation(shape)},
         run});
  }
  const Shape large{1 << 25}, t5{64 * 32, 1024};
  for (const Shape& shape : {large, t5}) {
    room.benches.push_back(
        {fmt::format("{}", shape), {activation(shape), activation(shape)}, run, 3.0 * shape.numel()});
    room.benches.push_back({fmt::format("{} with backward", shape),
                            {activation(shape), activation(shape)},
                            run,
                            8.0 * shape.numel(),
                            0,
                            true});
  }
  room.misuses.push_back({"shapes", [] { gated_gelu_tanh(Tensor::zeros({2}), Tensor::zeros({3})); },
                          "[gated_gelu_tanh] the shapes must be equal but are [2] and [3]"});
  return room;
}

const Register activate_room(activate_cases());
const Register gated_room(gated_cases());

}  // namespace

}  // namespace weft::op_check
