#include "kernels/quick_gelu.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Op quick_gelu_cases() {
  Op room{"quick_gelu"};
  const Run run = [](const Tensors& x) { return quick_gelu(x[0]); };
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{3, 31}, Shape{2, 33}, Shape{0, 7}, Shape{129}, Shape{4099}}) {
    // An error is measured against the largest element, so a single one must not be a value that nearly vanishes.
    const Input input = shape.numel() == 1 ? activation(shape, 0.25, 0.75) : activation(shape, -5, 5);
    room.cases.push_back({fmt::format("{}", shape), {input}, run});
  }
  const Shape large{1 << 25}, vit{64 * 50, 3072};
  for (const Shape& shape : {large, vit}) {
    room.benches.push_back({fmt::format("{}", shape), {activation(shape, -5, 5)}, run, 2.0 * shape.numel()});
    room.benches.push_back(
        {fmt::format("{} with backward", shape), {activation(shape, -5, 5)}, run, 5.0 * shape.numel(), 0, true});
  }
  room.misuses.push_back({"undefined", [] { quick_gelu(Tensor()); }, "[quick_gelu] x is undefined"});
  room.misuses.push_back({"integers", [] { quick_gelu(Tensor::zeros({3}, DType::i64)); },
                          "[quick_gelu] the dtype must be f32, bf16 or f64 but is i64"});
  return room;
}

const Register quick_gelu_room(quick_gelu_cases());

}  // namespace

}  // namespace weft::op_check
