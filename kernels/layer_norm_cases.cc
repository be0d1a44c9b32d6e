#include "kernels/layer_norm.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Op cases() {
  Op room{"layer_norm"};
  const Run run = [](const Tensors& x) { return layer_norm(x[0], x[1], x[2]); };
  const auto inputs = [](const Shape& shape, double low = -2, double high = 2) {
    return std::vector<Input>{activation(shape, low, high), parameter({shape[-1]}, 0.5, 1.5), parameter({shape[-1]}, -1, 1)};
  };
  for (const Shape& shape : {Shape{31}, Shape{2, 3, 127}, Shape{33, 32}, Shape{5, 33}, Shape{100, 129}, Shape{4, 1000}, Shape{0, 7}, Shape{2, 4099}}) {
    room.cases.push_back({fmt::format("{}", shape), inputs(shape), run});
  }
  // One unit of f64 at 10,000 is 2e-12, which a step of 1e-6 turns into 2e-6 of slope.
  room.cases.push_back({"mean 10,000 [9, 300]", inputs({9, 300}, 9900, 10100), run, 1e-5, 0x1p-7, 1e-4});
  room.cases.push_back({"mean 10,000, narrow [9, 65]", inputs({9, 65}, 9998, 10002), run, 1e-5, 0x1p-7, 1e-4, true, false});
  // Bytes: forward reads x and writes y (2); backward reads x and dy and writes dx (3).
  for (const Shape& shape : {Shape{1 << 16, 512}, Shape{1 << 20, 32}, Shape{1 << 14, 4096}}) {
    const double n = shape.numel();
    room.benches.push_back({fmt::format("{}", shape), inputs(shape), run, 2 * n});
    room.benches.push_back({fmt::format("{} with backward", shape), inputs(shape), run, 5 * n, 0, true});
  }
  const Tensor x = Tensor::zeros({4, 3}), c = Tensor::zeros({3});
  room.misuses.push_back({"no axes", [c] { layer_norm(Tensor::zeros({}), c, c); }, "[layer_norm] x must have at least 1 axis but has shape []"});
  room.misuses.push_back({"wrong weight", [=] { layer_norm(x, Tensor::zeros({4}), c); }, "[layer_norm] weight must be f32 [3] but is f32 [4]"});
  room.misuses.push_back({"bf16 bias", [=] { layer_norm(x, c, Tensor::zeros({3}, DType::bf16)); }, "[layer_norm] bias must be f32 [3] but is bf16 [3]"});
  return room;
}

const Register layer_norm_room(cases());

}  // namespace

}  // namespace weft::op_check
