#include "kernels/resize.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

using Resize = std::function<Tensor(const Tensor&, int64_t, int64_t)>;

Op resize_cases(const std::string& name, const std::string& message_name, const Resize& op) {
  Op room{name};
  struct Size {
    Shape from;
    int64_t height, width;
  };
  const auto runs = [op](int64_t height, int64_t width) {
    return [=](const Tensors& x) { return op(x[0], height, width); };
  };
  for (const Size& s : {Size{{1, 1, 1, 1}, 1, 1}, Size{{2, 1, 1, 3}, 4, 3}, Size{{2, 31, 33, 3}, 17, 9},
                        Size{{1, 7, 5, 32}, 14, 10}, Size{{1, 5, 8, 17}, 5, 8}, Size{{1, 4, 127, 2}, 3, 129},
                        Size{{0, 4, 4, 3}, 2, 2}, Size{{1, 298, 22, 1}, 1, 50}}) {
    room.cases.push_back(
        {fmt::format("{} to {}x{}", s.from, s.height, s.width), {activation(s.from)}, runs(s.height, s.width)});
  }
  for (const Size& s : {Size{{16, 224, 224, 3}, 64, 64}, Size{{16, 298, 228, 3}, 224, 224},
                        Size{{16, 64, 64, 64}, 128, 128}, Size{{16, 128, 128, 64}, 64, 64}}) {
    const double in = static_cast<double>(s.from.numel()),
                 out = static_cast<double>(s.from[0] * s.height * s.width * s.from[3]);
    for (bool backward : {false, true}) {
      room.benches.push_back({fmt::format("{} to {}x{}{}", s.from, s.height, s.width, backward ? " with backward" : ""),
                              {activation(s.from)},
                              runs(s.height, s.width),
                              (backward ? 2 : 1) * (in + out),
                              0,
                              backward});
    }
  }
  room.misuses.push_back(
      {"three axes",
       [op] {
         op(Tensor::zeros({2, 3, 4}), 1, 1);
       },
       fmt::format("[{}] x must be [N, H, W, C] with H and W at least 1 but has shape [2, 3, 4]", message_name)});
  room.misuses.push_back(
      {"no pixels",
       [op] {
         op(Tensor::zeros({2, 0, 3, 4}), 1, 1);
       },
       fmt::format("[{}] x must be [N, H, W, C] with H and W at least 1 but has shape [2, 0, 3, 4]", message_name)});
  room.misuses.push_back({"no size",
                          [op] {
                            op(Tensor::zeros({2, 3, 4, 1}), 0, 5);
                          },
                          fmt::format("[{}] the size must be at least 1 x 1 but is 0 x 5", message_name)});
  return room;
}

const Register antialias_room(resize_cases("resize_bilinear", "resize_bilinear",
                                           [](const Tensor& x, int64_t h, int64_t w) {
                                             return resize_bilinear(x, h, w);
                                           }));
const Register bilinear_room(resize_cases("resize_bilinear_plain", "resize_bilinear",
                                          [](const Tensor& x, int64_t h, int64_t w) {
                                            return resize_bilinear(x, h, w, false);
                                          }));
const Register cubic_room(resize_cases("resize_cubic", "resize_cubic", [](const Tensor& x, int64_t h, int64_t w) {
  return resize_cubic(x, h, w);
}));
const Register cubic_inside_room(resize_cases("resize_cubic_inside", "resize_cubic",
                                              [](const Tensor& x, int64_t h, int64_t w) {
                                                return resize_cubic(x, h, w, false);
                                              }));
const Register nearest_room(resize_cases("resize_nearest", "resize_nearest", resize_nearest));

}  // namespace

}  // namespace weft::op_check
