#include "kernels/softmax.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Op softmax_cases(const std::string& name, Tensor (*op)(const Tensor&)) {
  Op room{name};
  const Run run = [op](const Tensors& x) { return op(x[0]); };
  for (const Shape& shape : {Shape{1}, Shape{3, 31}, Shape{2, 33}, Shape{5, 128}, Shape{2, 3, 127}, Shape{4, 1000}, Shape{0, 7}, Shape{2, 4099}}) {
    room.cases.push_back({fmt::format("{}", shape), {activation(shape, -5, 5)}, run});
  }
  // f32: log_softmax's y near -60 is rounded before exp, measured 1.1e-5. bf16: dx is a difference of products of the saved y, which is
  // rounded, measured 0.0092 (few rows might all have a single largest element, whose gradient nearly vanishes).
  room.cases.push_back({"large values", {activation({99, 65}, 900, 1000)}, run, 1e-4, 0x1p-6});
  for (const Shape& shape : {Shape{1 << 16, 512}, Shape{256, 1 << 17}}) {
    room.benches.push_back({fmt::format("{}", shape), {activation(shape)}, run, 2.0 * shape.numel()});
    room.benches.push_back({fmt::format("{} with backward", shape), {activation(shape)}, run, 5.0 * shape.numel(), 0, true});
  }
  room.misuses.push_back({"no axes", [op] { op(Tensor::zeros({})); }, fmt::format("[{}] x must have at least 1 axis but has shape []", name)});
  room.misuses.push_back({"integers", [op] { op(Tensor::zeros({3}, DType::i64)); }, fmt::format("[{}] the dtype must be f32, bf16 or f64 but is i64", name)});
  return room;
}

const Register softmax_room(softmax_cases("softmax", softmax));
const Register log_softmax_room(softmax_cases("log_softmax", log_softmax));

}  // namespace

}  // namespace weft::op_check
