// Kernels of the cuda device where op_check does not look: unaligned views, the cpu's random numbers, optimisers.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <memory>

#include "kernels/activation.h"
#include "kernels/arithmetic.h"
#include "kernels/cast.h"
#include "kernels/dropout.h"
#include "kernels/embracement.h"
#include "kernels/layer_norm.h"
#include "kernels/multinomial.h"
#include "kernels/softmax.h"
#include "nn/optimizers.h"
#include "tensor/autograd.h"
#include "tests/cuda_values.h"

using namespace weft;

namespace {

// Values in [-1, 1) in a dtype.
Tensor random_tensor(const Shape& shape, uint64_t seed, DType dtype) { return cast(random_tensor(shape, seed), dtype); }

}  // namespace

TEST_CASE("views that begin between two 16-byte words") {
  for (DType dtype : {DType::f32, DType::bf16}) {
    CAPTURE(name_of(dtype));
    const double tolerance = dtype == DType::f32 ? 1e-6 : 0x1p-8;
    // The view begins one element behind an aligned address.
    const Tensor here = random_tensor({1001, 1}, 5, dtype), there = here.to(Device::cuda);
    const auto view = [](const Tensor& t) { return t.leading(1, 897).reshape({7, 128}); };
    const Tensor weight = random_tensor({128}, 6), bias = random_tensor({128}, 7);
    const std::vector<std::function<Tensor(const Tensor&, Device)>> ops{
        [](const Tensor& x, Device) { return softmax(x); },
        [](const Tensor& x, Device) { return gelu(x); },
        [](const Tensor& x, Device) { return add(x, x); },
        [](const Tensor& x, Device) { return mul(x, x.leading(2, 3)); },
        [](const Tensor& x, Device) { return cast(x, x.dtype() == DType::f32 ? DType::bf16 : DType::f32); },
        [&](const Tensor& x, Device d) { return layer_norm(x, weight.to(d), bias.to(d)); },
    };
    for (size_t i = 0; i < ops.size(); ++i) {
      CAPTURE(i);
      CHECK(difference(ops[i](view(there), Device::cuda), ops[i](view(here), Device::cpu)) <= tolerance);
    }
  }
}

TEST_CASE("random ops draw the cpu's numbers") {
  const Training training;
  for (int64_t n : {1, 3, 4, 1027}) {
    const Tensor x = Tensor::full({n}, 1);
    Random a{7, 5}, b{7, 5};
    CHECK(dropout(x.to(Device::cuda), 0.3, a).to_doubles() == dropout(x, 0.3, b).to_doubles());
    CHECK(a.offset == b.offset);
  }
  const Tensor docked = random_tensor({6, 3, 101}, 8),
               weights =
                   Tensor::from(std::vector<float>{1, 0, 2, 0, 0, 3, 1, 1, 1, 5, 0, 0, 1, 2, 0, .1f, .2f, .7f}, {6, 3});
  Random a{9}, b{9};
  CHECK(embracement(docked.to(Device::cuda), weights, &a).to_doubles() ==
        embracement(docked, weights, &b).to_doubles());
  CHECK(embracement(docked.to(Device::cuda), weights.to(Device::cuda), &a).to_doubles() ==
        embracement(docked, weights, &b).to_doubles());
  const Tensor p = add(random_tensor({4, 301}, 10), 1);
  CHECK(multinomial(p.to(Device::cuda), 33, a).to_doubles() == multinomial(p, 33, b).to_doubles());
}

TEST_CASE("optimisers, clipping and averages equal the cpu's") {
  const std::vector<std::function<std::unique_ptr<Optimizer>(const ParameterSet&)>> all{
      [](const ParameterSet& set) { return std::make_unique<Sgd>(set, SgdOptions{.weight_decay = 0.1}); },
      [](const ParameterSet& set) { return std::make_unique<Sgd>(set, SgdOptions{.momentum = 0.9, .nesterov = true}); },
      [](const ParameterSet& set) { return std::make_unique<Adam>(set, AdamOptions{.weight_decay = 0.1}); },
      [](const ParameterSet& set) { return std::make_unique<AdamW>(set, AdamOptions{.weight_decay = 0.1}); },
  };
  const std::vector<Shape> shapes{{1}, {3, 5}, {7, 129}, {20000}, {0}};
  for (size_t which = 0; which < all.size(); ++which) {
    CAPTURE(which);
    ParameterSet sets[2]{ParameterSet{3}, ParameterSet{3, DType::f32, Device::cuda}};
    std::vector<Tensors> parameters(2);
    std::unique_ptr<Optimizer> optimizers[2];
    std::unique_ptr<Ema> averages[2];
    for (int d = 0; d < 2; ++d) {
      for (size_t i = 0; i < shapes.size(); ++i)
        parameters[d].push_back(Params(sets[d]).parameter(fmt::format("p{}", i), shapes[i], init::normal(1)));
      optimizers[d] = all[which](sets[d]);
      averages[d] = std::make_unique<Ema>(sets[d], 0.9, true);
    }
    for (int step = 0; step < 4; ++step) {
      double norms[2];
      for (int d = 0; d < 2; ++d) {
        sets[d].clear_gradients();
        for (size_t i = 0; i < shapes.size(); ++i) {
          if (step == 2 && i == 1) continue;  // one without a gradient
          const Tensor g = random_tensor(shapes[i], 100 * step + i).to(parameters[d][i].device());
          backward(parameters[d][i], g);
        }
        norms[d] = clip_by_global_norm(sets[d], step == 0 ? 1e9 : 0.5);
        optimizers[d]->step(0.01);
        averages[d]->update();
      }
      CHECK(norms[1] == doctest::Approx(norms[0]).epsilon(1e-9));
    }
    for (size_t i = 0; i < shapes.size(); ++i) {
      CHECK(difference(parameters[1][i], parameters[0][i]) < 1e-6);
    }
    const auto here = averages[0]->state(), there = averages[1]->state();
    for (size_t i = 0; i < here.size(); ++i) CHECK(difference(there[i].tensor, here[i].tensor) < 1e-6);
  }
}

TEST_CASE("a gradient that is not finite is named") {
  ParameterSet set{1, DType::f32, Device::cuda};
  const Tensor a = Params(set).parameter("first", {3}, init::ones()),
               b = Params(set).parameter("second", {3}, init::ones());
  backward(a, Tensor::full({3}, 1, DType::f32, Device::cuda));
  backward(b, Tensor::full({3}, NAN, DType::f32, Device::cuda));
  CHECK_THROWS_WITH(clip_by_global_norm(set, 1), "the gradient of parameter 'second' is not finite");
}
