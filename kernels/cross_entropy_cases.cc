#include "kernels/cross_entropy.h"

#include <cmath>

#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Run run(double smoothing, int64_t ignore_index = -100) {
  return [=](const Tensors& x) {
    return cross_entropy(x[0], x[1], {.label_smoothing = smoothing, .class_weights = x.size() > 2 ? x[2] : Tensor(), .ignore_index = ignore_index});
  };
}

std::vector<Input> inputs(int64_t rows, int64_t classes, bool weights = false, double low = -5, double high = 5) {
  std::vector<Input> result{activation({rows, classes}, low, high), indices({rows}, classes)};
  if (weights) {
    result.push_back(parameter({classes}, 0.5, 2));
    result.back().gradient = false;
  }
  return result;
}

// PyTorch's definition, worked out by hand for logits (log 3, 0) and (0, log 4): p = (3/4, 1/4) and (1/5, 4/5); labels 0 and 1;
// class weights 1 and 3, label smoothing 0.5, a third row ignored.
// nll = (log(4/3) + 3 log(5/4)) / 4, smooth = (log(4/3) + 3 log 4 + log 5 + 3 log(5/4)) / 4, loss = 0.5 nll + 0.25 smooth = 0.7022168.
void by_hand() {
  const Tensor logits = Tensor::from<double>({std::log(3.0), 0.0, 0.0, std::log(4.0), 7.0, -7.0}, {3, 2});
  const Tensor labels = Tensor::from<int64_t>({0, 1, -1}, {3}), weights = Tensor::from<double>({1.0, 3.0}, {2});
  const double loss = cross_entropy(logits, labels, {.label_smoothing = 0.5, .class_weights = weights, .ignore_index = -1}).item();
  const double nll = (std::log(4.0 / 3) + 3 * std::log(1.25)) / 4;
  const double smooth = (std::log(4.0 / 3) + 3 * std::log(4.0) + std::log(5.0) + 3 * std::log(1.25)) / 4;
  check(false, "{:.9f}", loss - (0.5 * nll + 0.25 * smooth));
}

Op cases() {
  Op room{"cross_entropy"};
  for (const auto& [rows, classes] : {std::pair{1, 1000}, {31, 33}, {4, 129}, {7, 1}, {64, 191}, {2, 4099}, {8, 9000}}) {
    if (classes > 1) room.cases.push_back({fmt::format("[{}, {}]", rows, classes), inputs(rows, classes), run(0)});
    room.cases.push_back({fmt::format("smoothing [{}, {}]", rows, classes), inputs(rows, classes, true), run(0.1)});
  }
  room.cases.push_back({"weights [31, 33]", inputs(31, 33, true), run(0)});
  room.cases.push_back({"ignored [40, 5]", inputs(40, 5, true), run(0.2, 3)});
  room.cases.push_back({"large logits [9, 65]", inputs(9, 65, false, 900, 1000), run(0.1)});

  // Bytes: the logits are read and, with backward, their gradient is written once.
  for (const auto& [rows, classes] : {std::pair<int64_t, int64_t>{1 << 17, 191}, {128, 250112}}) {
    const double n = static_cast<double>(rows) * classes;
    room.benches.push_back({fmt::format("[{}, {}]", rows, classes), inputs(rows, classes), run(0), n});
    room.benches.push_back({fmt::format("[{}, {}] with backward", rows, classes), inputs(rows, classes), run(0), 2 * n, 0, true});
    room.benches.push_back({fmt::format("[{}, {}] smoothing, bwd", rows, classes), inputs(rows, classes), run(0.1), 2 * n, 0, true});
  }

  const Tensor x = Tensor::zeros({2, 3}), y = Tensor::zeros({2}, DType::i64);
  room.misuses.push_back({"by hand", by_hand, "0.000000000"});
  room.misuses.push_back({"label too large", [x] { cross_entropy(x, Tensor::from<int64_t>({0, 3}, {2})); },
                          "[cross_entropy] labels must lie in [0, 3) but row 1 has 3"});
  room.misuses.push_back({"negative label", [x] { cross_entropy(x, Tensor::from<int64_t>({-1, 0}, {2})); },
                          "[cross_entropy] labels must lie in [0, 3) but row 0 has -1"});
  room.misuses.push_back({"all ignored", [x, y] { cross_entropy(x, y, {.ignore_index = 0}); },
                          "[cross_entropy] the weights of the labels must sum to more than 0 but sum to 0 over 2 rows"});
  room.misuses.push_back({"empty batch", [] { cross_entropy(Tensor::zeros({0, 3}), Tensor::zeros({0}, DType::i64)); },
                          "[cross_entropy] the weights of the labels must sum to more than 0 but sum to 0 over 0 rows"});
  room.misuses.push_back({"labels' dtype", [x] { cross_entropy(x, Tensor::zeros({2})); }, "[cross_entropy] labels must be i64 [2] but are f32 [2]"});
  room.misuses.push_back({"smoothing", [x, y] { cross_entropy(x, y, {.label_smoothing = 1.5}); },
                          "[cross_entropy] label_smoothing must lie in [0, 1] but is 1.5"});
  room.misuses.push_back({"weights", [x, y] { cross_entropy(x, y, {.class_weights = Tensor::zeros({2})}); },
                          "[cross_entropy] class_weights must be f32 [3] but are f32 [2]"});
  return room;
}

const Register cross_entropy_room(cases());

}  // namespace

}  // namespace weft::op_check
