#include "kernels/conv2d.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Op conv_transpose2d_cases() {
  Op room{"conv_transpose2d"};
  struct Size {
    Shape x, weight;
    int stride, padding;
  };
  for (const Size& s : {Size{{1, 1, 1, 1}, {1, 1, 4, 4}, 2, 1}, Size{{2, 4, 5, 3}, {3, 5, 4, 4}, 2, 1},
                        Size{{2, 7, 3, 33}, {33, 31, 4, 4}, 2, 1}, Size{{1, 8, 8, 32}, {32, 32, 4, 4}, 2, 1},
                        Size{{1, 5, 4, 6}, {6, 4, 3, 3}, 1, 1}, Size{{1, 3, 3, 8}, {8, 2, 2, 3}, 3, 0},
                        Size{{0, 3, 3, 8}, {8, 2, 4, 4}, 2, 1}}) {
    const auto run = [s](const Tensors& x) {
      return conv_transpose2d(x[0], x[1], x.size() > 2 ? x[2] : Tensor(), s.stride, s.padding);
    };
    const std::string name = fmt::format("{} by {} stride {} padding {}", s.x, s.weight, s.stride, s.padding);
    room.cases.push_back({name, {activation(s.x), activation(s.weight)}, run});
    room.cases.push_back(
        {name + " with bias", {activation(s.x), activation(s.weight), activation({s.weight[1]})}, run});
  }
  for (const Size& s :
       {Size{{4, 32, 32, 256}, {256, 256, 4, 4}, 2, 1}, Size{{4, 64, 64, 128}, {128, 128, 4, 4}, 2, 1}}) {
    const auto run = [s](const Tensors& x) { return conv_transpose2d(x[0], x[1], {}, s.stride, s.padding); };
    const double flops = 2.0 * static_cast<double>(s.x.numel() * s.weight.product(1, 4));
    for (const bool backward : {false, true}) {
      room.benches.push_back({fmt::format("{} by {}{}", s.x, s.weight, backward ? " with backward" : ""),
                              {activation(s.x), activation(s.weight)},
                              run,
                              0,
                              (backward ? 3 : 1) * flops,
                              backward});
    }
  }
  const auto misuse = [&](const char* name, Shape x, Shape weight, int stride, Shape bias, const char* message) {
    const auto run = [=] {
      conv_transpose2d(Tensor::zeros(x), Tensor::zeros(weight), bias.empty() ? Tensor() : Tensor::zeros(bias), stride, 1);
    };
    room.misuses.push_back({name, run, fmt::format("[conv_transpose2d] {}", message)});
  };
  misuse("channels", {1, 2, 2, 3}, {4, 3, 4, 4}, 2, {},
         "x must be [N, H, W, C] and weight [C, O, KH, KW] but they are [1, 2, 2, 3] and [4, 3, 4, 4]");
  misuse("stride", {1, 2, 2, 3}, {3, 3, 4, 4}, 0, {},
         "stride must be at least 1 and padding at least 0 but are 0 and 1");
  misuse("nothing left", {1, 1, 1, 3}, {3, 3, 2, 2}, 2, {},
         "images must have at least 1 pixel but would become 0 x 0 from 1 x 1");
  misuse("bias", {1, 1, 1, 3}, {3, 5, 4, 4}, 2, {3}, "bias must have shape [5] but has [3]");
  return room;
}

const Register conv_transpose2d_room(conv_transpose2d_cases());

}  // namespace

}  // namespace weft::op_check
