#include "kernels/rms_norm.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Op cases() {
  Op room{"rms_norm"};
  const Run run = [](const Tensors& x) { return rms_norm(x[0], x[1]); };
  const auto inputs = [](const Shape& shape, double low = -2, double high = 2) {
    return std::vector<Input>{activation(shape, low, high), parameter({shape[-1]}, 0.5, 1.5)};
  };
  for (const Shape& shape : {Shape{31}, Shape{2, 3, 127}, Shape{33, 32}, Shape{5, 33}, Shape{100, 129}, Shape{4, 1000}, Shape{0, 7}, Shape{2, 4099}}) {
    room.cases.push_back({fmt::format("{}", shape), inputs(shape), run});
  }
  room.cases.push_back({"large values", inputs({4, 65}, 900, 1000), run, 1e-5, 0x1p-7, 1e-4});  // dL/dx is 1e-3 of y; f64 rounding over eps shows
  room.cases.push_back({"zeros", inputs({2, 40}, 0, 0), run});
  // Bytes: forward reads x and writes y (2); backward reads x and dy and writes dx (3).
  for (const Shape& shape : {Shape{1 << 16, 512}, Shape{1 << 20, 32}, Shape{1 << 14, 4096}}) {
    const double n = shape.numel();
    room.benches.push_back({fmt::format("{}", shape), inputs(shape), run, 2 * n});
    room.benches.push_back({fmt::format("{} with backward", shape), inputs(shape), run, 5 * n, 0, true});
  }
  const Tensor x = Tensor::zeros({4, 3});
  room.misuses.push_back({"no axes", [] { rms_norm(Tensor::zeros({}), Tensor::zeros({1})); }, "[rms_norm] x must have at least 1 axis but has shape []"});
  room.misuses.push_back({"wrong weight", [x] { rms_norm(x, Tensor::zeros({4})); }, "[rms_norm] weight must be f32 [3] but is f32 [4]"});
  room.misuses.push_back({"bf16 weight", [x] { rms_norm(x, Tensor::zeros({3}, DType::bf16)); }, "[rms_norm] weight must be f32 [3] but is bf16 [3]"});
  return room;
}

const Register rms_norm_room(cases());

}  // namespace

}  // namespace weft::op_check
