#include "tensor/recompute.h"

namespace weft {

namespace {

// While alive, ops are recorded, inside of a backward too.
class Recording {
 public:
  Recording() : before_(tape::set_recording(true)) {}
  ~Recording() { tape::set_recording(before_); }
  Recording(const Recording&) = delete;

 private:
  bool before_;
};

}  // namespace

Tensor recompute(const char* name, const Tensors& inputs, std::function<Tensor(const Tensors&)> f,
                 const std::function<Tensor(const Tensors&)>& forward) {
  Tensor y;
  {
    const NoGrad no_grad;
    y = (forward ? forward : f)(inputs);
  }
  Tensors kept;
  std::vector<bool> wanted;
  for (const Tensor& x : inputs) {
    kept.push_back(x.detach());
    wanted.push_back(x.needs_grad());
  }
  return record(name, y, inputs, [f = std::move(f), kept, wanted](const Tensor& dy) -> Tensors {
    Tensors leaves = kept, gradients(kept.size());
    for (size_t i = 0; i < leaves.size(); ++i) {
      if (wanted[i]) leaves[i].set_requires_grad();
    }
    const auto again = [&] {
      const Recording on;
      return f(leaves);
    };
    backward(again(), dy);
    for (size_t i = 0; i < leaves.size(); ++i) {
      if (wanted[i]) gradients[i] = leaves[i].grad();
    }
    return gradients;
  });
}

}  // namespace weft
