#include <limits>

#include "kernels/multinomial.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Op multinomial_cases() {
  Op room{"multinomial"};
  const auto run = [](int64_t count) -> Run {
    return [count](const Tensors& x) {
      Random random{11};
      return multinomial(x[0], count, random);
    };
  };
  // Sums of f64 in every dtype, so the draws are equal.
  for (const auto& [shape, count] : {std::pair<Shape, int64_t>{{1, 1}, 3},
                                     {{3, 31}, 33},
                                     {{129, 5}, 1},
                                     {{0, 7}, 2},
                                     {{2, 1000}, 0},
                                     {{2, 4099}, 127}}) {
    room.cases.push_back(
        {fmt::format("{} of {}", count, shape), {activation(shape, 0, 2)}, run(count), 0, 0, 1e-6, false});
  }
  const Shape vocabulary{128, 250112};
  room.benches.push_back(
      {fmt::format("1 of {}", vocabulary), {activation(vocabulary, 0, 2)}, run(1), 1.0 * vocabulary.numel()});
  const auto draw = [](std::vector<double> p) {
    return [p] {
      Random random;
      multinomial(Tensor::from(p, {2, 2}), 1, random);
    };
  };
  const std::string rule =
      "[multinomial] every weight must be at least 0 and their sum positive and finite but row 1 has ";
  room.misuses.push_back({"zero row", draw({1, 1, 0, 0}), rule + "the sum 0"});
  room.misuses.push_back({"negative", draw({1, 1, 2, -1}), rule + "a weight of -1"});
  room.misuses.push_back({"NaN", draw({1, 1, 2, std::numeric_limits<double>::quiet_NaN()}), rule + "the sum nan"});
  room.misuses.push_back({"infinity", draw({1, 1, 2, std::numeric_limits<double>::infinity()}), rule + "the sum inf"});
  room.misuses.push_back({"axes",
                          [] {
                            Random random;
                            multinomial(Tensor::zeros({2}), 1, random);
                          },
                          "[multinomial] p must have 2 axes but has shape [2]"});
  return room;
}

const Register multinomial_room(multinomial_cases());

}  // namespace

}  // namespace weft::op_check
