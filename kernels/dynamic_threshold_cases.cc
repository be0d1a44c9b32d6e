#include "kernels/dynamic_threshold.h"
#include "tests/op_check/op_case.h"

namespace weft::op_check {

namespace {

Op dynamic_threshold_cases() {
  Op room{"dynamic_threshold"};
  struct Size {
    Shape shape;
    double q, bound;
  };
  for (const Size& s : {Size{{1, 1}, 0.9, 3}, Size{{2, 31}, 0.9, 3}, Size{{3, 4, 4, 3}, 0.9, 5},
                        Size{{2, 33}, 0.5, 0.9}, Size{{2, 127}, 0, 2}, Size{{2, 128}, 1, 2}, Size{{4, 4099}, 0.9, 4},
                        Size{{0, 5}, 0.9, 1}}) {
    Case c{fmt::format("{} at {}", s.shape, s.q),
           {activation(s.shape, -s.bound, s.bound)},
           [q = s.q](const Tensors& x) { return dynamic_threshold(x[0], q); }};
    c.differentiable = false;
    room.cases.push_back(c);
  }
  const Shape images{2, 128, 128, 3};
  room.benches.push_back({fmt::format("{}", images),
                          {activation(images)},
                          [](const Tensors& x) { return dynamic_threshold(x[0], 0.9); },
                          2.0 * images.numel()});
  room.misuses.push_back(
      {"no elements", [] { dynamic_threshold(Tensor::zeros({2, 0}), 0.9); },
       "[dynamic_threshold] x must be [N, ..] with at least 1 element a sample but has shape [2, 0]"});
  room.misuses.push_back({"quantile", [] { dynamic_threshold(Tensor::zeros({2, 3}), 1.5); },
                          "[dynamic_threshold] the quantile must be in [0, 1] but is 1.5"});
  return room;
}

const Register dynamic_threshold_room(dynamic_threshold_cases());

}  // namespace

}  // namespace weft::op_check
