#include "kernels/pool.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Op max_pool2d_cases() {
  Op room{"max_pool2d"};
  const auto add = [&](const Shape& shape, int kernel, int stride, int padding) {
    Input x = activation(shape);
    x.distinct = true;
    room.cases.push_back({fmt::format("{} {}x{} stride {} padding {}", shape, kernel, kernel, stride, padding),
                          {x},
                          [=](const Tensors& t) { return max_pool2d(t[0], kernel, stride, padding); }});
  };
  add({1, 1, 1, 1}, 1, 1, 0);
  add({1, 5, 6, 3}, 3, 2, 1);
  add({1, 7, 7, 5}, 3, 1, 1);
  add({2, 4, 4, 8}, 2, 2, 0);
  add({1, 4, 4, 2}, 2, 3, 1);  // pixels that no window sees
  add({1, 15, 15, 1}, 15, 1, 7);
  add({0, 4, 4, 2}, 2, 2, 0);
  for (const Shape& shape : {Shape{128, 32, 32, 32}, Shape{8, 149, 114, 64}}) {
    const Run run = [](const Tensors& x) { return max_pool2d(x[0], 3, 2, 1); };
    room.benches.push_back({fmt::format("{} 3x3 stride 2", shape), {activation(shape)}, run, 1.25 * shape.numel()});
    room.benches.push_back(
        {fmt::format("{} with backward", shape), {activation(shape)}, run, 2.5 * shape.numel(), 0, true});
  }
  room.misuses.push_back({"axes",
                          [] {
                            max_pool2d(Tensor::zeros({3, 3, 3}), 2, 2);
                          },
                          "[max_pool2d] x must have 4 axes but has shape [3, 3, 3]"});
  room.misuses.push_back({"padding",
                          [] {
                            max_pool2d(Tensor::zeros({1, 3, 3, 3}), 2, 2, 2);
                          },
                          "[max_pool2d] the kernel must be 1 to 15, the stride at least 1 and the padding 0 to kernel "
                          "/ 2, but they are 2, 2 and 2"});
  room.misuses.push_back({"small image",
                          [] {
                            max_pool2d(Tensor::zeros({1, 3, 2, 3}), 3, 1);
                          },
                          "[max_pool2d] the padded image must be as large as the kernel 3 but x is [1, 3, 2, 3]"});
  return room;
}

Op global_average_pool_cases() {
  Op room{"global_average_pool"};
  const Run run = [](const Tensors& x) { return global_average_pool(x[0]); };
  for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{2, 3, 4, 33}, Shape{3, 7, 5, 128}, Shape{0, 2, 2, 3}}) {
    room.cases.push_back({fmt::format("{}", shape), {activation(shape)}, run});
  }
  for (const Shape& shape : {Shape{128, 2, 2, 1024}, Shape{8, 10, 8, 2048}}) {
    room.benches.push_back({fmt::format("{}", shape), {activation(shape)}, run, 1.0 * shape.numel()});
    room.benches.push_back(
        {fmt::format("{} with backward", shape), {activation(shape)}, run, 2.0 * shape.numel(), 0, true});
  }
  room.misuses.push_back(
      {"no pixels",
       [] {
         global_average_pool(Tensor::zeros({2, 0, 3, 4}));
       },
       "[global_average_pool] x must be [N, H, W, C] with at least one pixel but has shape [2, 0, 3, 4]"});
  return room;
}

const Register max_pool2d_room(max_pool2d_cases());
const Register global_average_pool_room(global_average_pool_cases());

}  // namespace

}  // namespace weft::op_check
