#include "kernels/dropout.h"
#include "tensor/autograd.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Op dropout_cases() {
  Op room{"dropout"};
  // The same seed each time, so that one function is compared.
  const auto run = [](double p) -> Run {
    return [p](const Tensors& x) {
      const Training training;
      Random random{7, 3};
      return dropout(x[0], p, random);
    };
  };
  for (const Shape& shape : {Shape{1}, Shape{3, 31}, Shape{2, 33}, Shape{0, 7}, Shape{129}, Shape{4099}}) {
    room.cases.push_back({fmt::format("{} p 0.5", shape), {activation(shape, 1, 2)}, run(0.5)});
  }
  room.cases.push_back({"p 0.1", {activation({1000}, 1, 2)}, run(0.1)});
  room.cases.push_back({"p 0.9", {activation({1000}, 1, 2)}, run(0.9)});
  const Shape large{1 << 25};
  room.benches.push_back({fmt::format("{}", large), {activation(large)}, run(0.1), 2.0 * large.numel()});
  room.benches.push_back(
      {fmt::format("{} with backward", large), {activation(large)}, run(0.1), 4.0 * large.numel(), 0, true});
  room.misuses.push_back({"p",
                          [] {
                            Random random;
                            dropout(Tensor::zeros({3}), 1, random);
                          },
                          "[dropout] 0 <= p < 1 must hold but p is 1"});
  room.misuses.push_back({"undefined",
                          [] {
                            Random random;
                            dropout(Tensor(), 0.5, random);
                          },
                          "[dropout] x is undefined"});
  return room;
}

const Register dropout_room(dropout_cases());

}  // namespace

}  // namespace weft::op_check
