// Optimisers against torch's (golden/make_optimizers.py), clipping, EMA and schedules.
#include "nn/optimizers.h"

#include <doctest/doctest.h>
#include <omp.h>

#include <functional>
#include <limits>

#include "nn/schedule.h"
#include "tensor/autograd.h"

using namespace weft;

namespace {

const std::string golden_path = std::string(WEFT_TESTS) + "/golden/optimizers.safetensors";

struct Pair {
  ParameterSet set;
  Tensor weight, bias;
  explicit Pair(const Safetensors& golden, DType dtype = DType::f32)
      : set(0, dtype),
        weight(Params(set).from(golden, "start.").parameter("weight", {7, 5}, init::zeros())),
        bias(Params(set).from(golden, "start.").parameter("bias", {7}, init::zeros())) {}
  void give(const Tensor& x, const Tensor& gradient) const {
    Tensor g = empty_like(x);
    g.copy_from(gradient);
    backward(x, g);
  }
};

/// Largest |a - b| / (|b| + max |b|).
double difference(const Tensor& a, const Tensor& b) {
  const auto x = a.to_doubles(), y = b.to_doubles();
  REQUIRE(x.size() == y.size());
  double worst = 0, largest = 0;
  for (const double v : y) largest = std::max(largest, std::abs(v));
  for (size_t i = 0; i < x.size(); ++i) {
    const double d = std::abs(x[i] - y[i]) / (std::abs(y[i]) + largest);
    if (!(d <= worst)) worst = d;
  }
  return worst;
}

using Make = std::function<std::unique_ptr<Optimizer>(const ParameterSet&)>;
template <class T, class Options>
Make make(Options options) {
  return [=](const ParameterSet& set) { return std::make_unique<T>(set, options); };
}

}  // namespace

TEST_CASE("six steps of every optimiser equal torch's") {
  const Safetensors golden(golden_path);
  const std::vector<std::pair<std::string, Make>> cases{
      {"sgd", make<Sgd>(SgdOptions{})},
      {"sgd_decay", make<Sgd>(SgdOptions{.weight_decay = 0.1})},
      {"sgd_momentum", make<Sgd>(SgdOptions{.momentum = 0.9, .weight_decay = 0.1})},
      {"sgd_nesterov", make<Sgd>(SgdOptions{.momentum = 0.9, .nesterov = true, .weight_decay = 0.1})},
      {"adam", make<Adam>(AdamOptions{})},
      {"adam_decay", make<Adam>(AdamOptions{.beta1 = 0.8, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 0.1})},
      {"adamw", make<AdamW>(AdamOptions{.weight_decay = 0.1})},
  };
  const auto rates = golden.tensor("rates").to_doubles();
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const auto& [name, create] : cases) {
      CAPTURE(name);
      const Pair pair(golden, dtype);
      const auto optimizer = create(pair.set);
      for (int step = 0; step < 6; ++step) {
        CAPTURE(step);
        pair.set.clear_gradients();
        pair.give(pair.weight, golden.tensor(fmt::format("gradient.{}.weight", step)));
        if (step != 3) pair.give(pair.bias, golden.tensor(fmt::format("gradient.{}.bias", step)));
        const uint64_t version = pair.weight.storage()->version;
        optimizer->step(rates[step]);
        CHECK(pair.weight.storage()->version > version);
        CHECK(difference(pair.weight, golden.tensor(fmt::format("{}.{}.weight", name, step))) < 1e-6);
        CHECK(difference(pair.bias, golden.tensor(fmt::format("{}.{}.bias", name, step))) < 1e-6);
      }
    }
  }
}

TEST_CASE("steps on many elements do not depend on the number of threads") {
  std::vector<double> first;
  for (const int threads : {1, 2, 3}) {
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    ParameterSet set(4);
    const Tensor w = Params(set).parameter("w", {100'003}, init::normal(1));
    AdamW adam(set);
    for (int step = 0; step < 3; ++step) {
      set.clear_gradients();
      backward(w, w.clone());
      clip_by_global_norm(set, 1);
      adam.step(0.01);
    }
    omp_set_num_threads(before);
    if (first.empty()) first = w.to_doubles();
    CHECK(w.to_doubles() == first);
  }
}

TEST_CASE("misuse of optimisers") {
  ParameterSet set;
  const Tensor w = Params(set).parameter("w", {2}, init::ones());
  Adam adam(set);
  CHECK_THROWS_WITH(adam.step(0.1), "[adam] at least one parameter must have a gradient; call backward() first");
  CHECK_THROWS_WITH(adam.step(-1), "[adam] the learning rate must be finite and at least 0 but is -1");
  CHECK_THROWS_WITH(Adam(set, {.beta1 = 1}), "[optimizer] beta1 must be in [0, 1) but is 1");
  CHECK_THROWS_WITH(Sgd(set, {.nesterov = true}), "[optimizer] nesterov needs a momentum above 0");
}

TEST_CASE("clipping by the global norm") {
  const Safetensors golden(golden_path);
  const Pair pair(golden);
  pair.give(pair.weight, golden.tensor("gradient.0.weight"));
  pair.give(pair.bias, golden.tensor("gradient.0.bias"));
  CHECK(clip_by_global_norm(pair.set, 100) == doctest::Approx(golden.tensor("clip.norm").item()).epsilon(1e-6));
  CHECK(difference(pair.weight.grad(), golden.tensor("gradient.0.weight")) == 0);
  REQUIRE(golden.tensor("clip.norm").item() != 0);
  const double limit = golden.tensor("clip.norm").item() / 4;
  clip_by_global_norm(pair.set, limit);
  CHECK(clip_by_global_norm(pair.set, limit * 2) == doctest::Approx(limit).epsilon(1e-6));

  const Pair again(golden);
  again.give(again.weight, golden.tensor("gradient.0.weight"));
  again.give(again.bias, golden.tensor("gradient.0.bias"));
  clip_by_global_norm(again.set, 1.5);
  // torch divides by norm + 1e-6.
  CHECK(difference(again.weight.grad(), golden.tensor("clip.weight")) < 2e-6);
  CHECK(difference(again.bias.grad(), golden.tensor("clip.bias")) < 2e-6);
}

TEST_CASE("two leaves that share one gradient are clipped once each") {
  ParameterSet set;
  const Tensor a = Params(set).parameter("a", {1}, init::ones()), b = Params(set).parameter("b", {1}, init::ones());
  const Tensor g = Tensor::full({1}, 3);
  backward(a, g);
  backward(b, g);
  CHECK(clip_by_global_norm(set, 1) == doctest::Approx(std::sqrt(18.0)));
  CHECK(a.grad().item() == doctest::Approx(std::sqrt(0.5)));
  CHECK(b.grad().item() == doctest::Approx(std::sqrt(0.5)));
  CHECK(g.item() == 3);
}

TEST_CASE("a gradient that is not finite is named") {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    ParameterSet set;
    const Tensor a = Params(set).parameter("a", {3}, init::ones()),
                 b = (Params(set) / "layer" / 1).parameter("b", {3}, init::ones());
    backward(a, Tensor::full({3}, 1));
    backward(b, Tensor::from<float>(std::vector<float>{0, 0, static_cast<float>(bad)}, {3}));
    CHECK_THROWS_WITH_AS(clip_by_global_norm(set, 1), "the gradient of parameter 'layer.1.b' is not finite",
                         std::runtime_error);
    CHECK(a.grad().to_doubles()[0] == 1);
  }
}

TEST_CASE("gradients of several backward calls add up") {
  ParameterSet set;
  const Tensor w = Params(set).parameter("w", {1}, init::constant(1));
  for (int i = 0; i < 4; ++i) backward(w.reshape({}), 1.0 / 4);
  Sgd(set).step(0.5);
  CHECK(w.item() == 0.5);
}

TEST_CASE("EMA follows, is applied and taken back") {
  ParameterSet set(0, DType::f64);
  const Tensor w = Params(set).parameter("w", {2}, init::constant(1));
  Ema ema(set, 0.75);
  w.fill(5);
  ema.update();  // 1 + 0.25 * 4
  w.fill(10);
  ema.update();  // 2 + 0.25 * 8
  {
    const Ema::Applied applied(ema);
    CHECK(w.to_doubles() == std::vector<double>{4, 4});
  }
  CHECK(w.to_doubles() == std::vector<double>{10, 10});
  ema.update();
  {
    const Ema::Applied applied(ema);
    CHECK(w.to_doubles() == std::vector<double>{5.5, 5.5});
  }
  Ema warm(set, 0.75, true);  // d = 0.1, 2/11
  w.fill(20);
  warm.update();  // 10 + 0.9 * 10
  warm.update();
  const Ema::Applied applied(warm);
  CHECK(w.to_doubles()[0] == doctest::Approx(19 + 9.0 / 11));
}

TEST_CASE("schedules") {
  const Schedule constant{.peak = 0.5, .warm_up = 4};
  CHECK(constant.at(0) == 0.125);
  CHECK(constant.at(3) == 0.5);
  CHECK(constant.at(1'000'000) == 0.5);
  const Schedule cosine{.kind = Schedule::Kind::cosine, .peak = 1, .warm_up = 2, .steps = 12, .floor = 0.1};
  CHECK(cosine.at(0) == 0.5);
  CHECK(cosine.at(1) == 1);
  CHECK(cosine.at(2) == 1);
  CHECK(cosine.at(7) == doctest::Approx(0.55));
  CHECK(cosine.at(12) == doctest::Approx(0.1));
  CHECK(cosine.at(100) == doctest::Approx(0.1));
  CHECK_THROWS_WITH((Schedule{.kind = Schedule::Kind::cosine, .warm_up = 5, .steps = 5}.at(5)),
                    "[schedule] cosine needs more steps than the 5 of warm-up but has 5");
  CHECK_THROWS_WITH(constant.at(-1), "[schedule] the step must be at least 0 but is -1");
}
