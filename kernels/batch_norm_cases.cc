#include "kernels/batch_norm.h"
#include "tensor/autograd.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Run run(bool training, bool relu) {
  return [=](const Tensors& x) {
    const Training mode(training);
    return batch_norm(x[0], x[1], x[2], x[3], x[4], {.relu = relu}, x.size() > 5 ? x[5] : Tensor());
  };
}

std::vector<Input> inputs(const Shape& shape, bool residual = false, double low = -2, double high = 2) {
  const Shape channels{shape[-1]};
  std::vector<Input> result{activation(shape, low, high), parameter(channels, 0.5, 1.5), parameter(channels, -1, 1), parameter(channels, -1, 1),
                            parameter(channels, 0.5, 2)};
  result[3].gradient = result[4].gradient = false;
  if (residual) result.push_back(activation(shape));
  return result;
}

// The running statistics are an output too: after one batch, as one row of two.
Tensor running_statistics(const Tensors& x) {
  const Training mode;
  batch_norm(x[0], x[1], x[2], x[3], x[4], {.momentum = 0.25});
  Tensor both = Tensor::empty({2, x[3].dim(0)}, x[3].dtype());
  both.leading(0, 1).copy_from(x[3].reshape({1, -1}));
  both.leading(1, 2).copy_from(x[4].reshape({1, -1}));
  return no_gradient("running_statistics", both, "it is a test");
}

// PyTorch's definition, worked out by hand: channel 0 is 1, 3 (mean 2, unbiased variance 2), momentum 0.25.
void by_hand() {
  const Tensor mean = Tensor::from<float>({4.0f}, {1}), var = Tensor::from<float>({8.0f}, {1}), one = Tensor::from<float>({1.0f}, {1});
  const Training mode;
  const Tensor y = batch_norm(Tensor::from<float>({1.0f, 3.0f}, {2, 1}), one, one, mean, var, {.eps = 0, .momentum = 0.25});
  check(false, "y = {}, {}; running {}, {}", y.to_doubles()[0], y.to_doubles()[1], mean.item(), var.item());
}

Op cases() {
  Op room{"batch_norm"};
  for (const Shape& shape : {Shape{7, 1}, Shape{31, 3}, Shape{5, 33}, Shape{3, 7, 5, 16}, Shape{1000, 3}, Shape{129, 127}, Shape{4, 4099}, Shape{700, 128}}) {
    room.cases.push_back({fmt::format("{}", shape), inputs(shape), run(true, false)});
  }
  // With ReLU an output near 0 may round to either side of it; the mask then differs from the truth's in one element of dy, at most 1.
  room.cases.push_back({"relu [40, 33]", inputs({40, 33}), run(true, true)});
  room.cases.push_back({"residual [2, 5, 5, 24]", inputs({2, 5, 5, 24}, true), run(true, false)});
  room.cases.push_back({"residual relu [40, 33]", inputs({40, 33}, true), run(true, true)});
  room.cases.push_back({"evaluation [2, 5, 5, 24]", inputs({2, 5, 5, 24}), run(false, false)});
  room.cases.push_back({"evaluation residual relu [1, 33]", inputs({1, 33}, true), run(false, true)});
  room.cases.push_back({"evaluation [0, 7]", inputs({0, 7}), run(false, false)});
  // One unit of f64 at 10,000 is 2e-12, which a step of 1e-6 turns into 2e-6 of slope; the sum of 8,721 such: measured 1.4e-4.
  room.cases.push_back({"mean 10,000 [513, 17]", inputs({513, 17}, false, 9995, 10005), run(true, false), 1e-5, 0x1p-7, 5e-4});
  room.cases.push_back({"mean 10,000 residual relu [64, 40]", inputs({64, 40}, true, 9900, 10100), run(true, true), 1e-5, 0x1p-7, 5e-4});
  room.cases.push_back({"running statistics", inputs({4, 9, 19}), running_statistics, 1e-5, 0x1p-7, 1e-6, false});
  room.cases.push_back({"running statistics, mean 10,000", inputs({300, 19}, false, 9900, 10100), running_statistics, 1e-5, 0x1p-7, 1e-6, false});

  // Bytes: training forward reads x twice and writes y (3); backward reads (x, dy) twice and writes dx (5). A residual adds its read
  // (1) and, with ReLU, the reads of y and the writing and reading of its gradient (2 more than 5).
  for (const Shape& shape : {Shape{128, 64, 64, 32}, Shape{128, 64, 64, 64}, Shape{128, 16, 16, 1024}}) {
    const double n = shape.numel();
    room.benches.push_back({fmt::format("{}", shape), inputs(shape), run(true, false), 3 * n});
    room.benches.push_back({fmt::format("{} relu, with backward", shape), inputs(shape), run(true, true), 8 * n, 0, true});
    room.benches.push_back({fmt::format("{} residual relu, bwd", shape), inputs(shape, true), run(true, true), 11 * n, 0, true});
  }
  room.benches.push_back({"evaluation relu [128, 64, 64, 64]", inputs({128, 64, 64, 64}), run(false, true), 2.0 * 128 * 64 * 64 * 64});

  const Tensor x = Tensor::zeros({4, 3}), c = Tensor::zeros({3});
  room.misuses.push_back({"by hand", by_hand, "y = 0, 2; running 3.5, 6.5"});
  room.misuses.push_back({"one row", [c] { const Training mode; batch_norm(Tensor::zeros({1, 3}), c, c, c, c); },
                          "[batch_norm] training needs at least 2 rows of channels but x has shape [1, 3]"});
  room.misuses.push_back({"no rows", [c] { const Training mode; batch_norm(Tensor::zeros({0, 3}), c, c, c, c); },
                          "[batch_norm] training needs at least 2 rows of channels but x has shape [0, 3]"});
  room.misuses.push_back({"wrong weight", [=] { batch_norm(x, Tensor::zeros({4}), c, c, c); }, "[batch_norm] weight must be f32 [3] but is f32 [4]"});
  room.misuses.push_back({"no running_var", [=] { batch_norm(x, c, c, c, {}); }, "[batch_norm] running_var must be given"});
  room.misuses.push_back({"wrong residual", [=] { batch_norm(x, c, c, c, c, {}, c); }, "[batch_norm] residual must be f32 [4, 3] as x but is f32 [3]"});
  return room;
}

const Register batch_norm_room(cases());

}  // namespace

}  // namespace weft::op_check
