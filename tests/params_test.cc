// Params: what a layer asks for is created or loaded, listed and saved by one mechanism.
#include "nn/params.h"

#include <doctest/doctest.h>

#include "tensor/autograd.h"
#include "tests/temporary_folder.h"

using namespace weft;

namespace {

struct Tiny {
  Tensor weight, bias, mean, steps;
  explicit Tiny(const Params& p)
      : weight(p.parameter("weight", {3, 4}, init::normal(0.5))),
        bias(p.parameter("bias", {3}, init::uniform(2))),
        mean(p.buffer("running_mean", {3}, 0)),
        steps(p.buffer("num_batches_tracked", {}, 7, DType::i64, true)) {}
};

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("names follow the scopes and the list is in the order of declaration") {
  ParameterSet set(1);
  const Params p(set);
  const Tiny a(p / "layer1" / 0), b(p / "layer1" / 1);
  std::string names;
  for (const Parameter& q : set.all()) names += q.name + " ";
  CHECK(names ==
        "layer1.0.weight layer1.0.bias layer1.0.running_mean layer1.0.num_batches_tracked "
        "layer1.1.weight layer1.1.bias layer1.1.running_mean layer1.1.num_batches_tracked ");
  CHECK(set.parameter_count() == 30);
  CHECK(set.trainable().size() == 4);
  CHECK(set.find("layer1.0.weight")->decay);
  CHECK_FALSE(set.find("layer1.0.bias")->decay);
  CHECK(set.find("layer1.2.bias") == nullptr);
  CHECK(a.steps.item() == 7);
  CHECK(error_of([&] { Tiny(p / "layer1" / 0); }).find("'layer1.0.weight' is declared twice") != std::string::npos);
}

TEST_CASE("first values depend on seed and name, not on the order") {
  ParameterSet one(5), two(5), other(6);
  const Tensor a = Params(one).parameter("a", {100}, init::normal(1)),
               b = Params(one).parameter("b", {100}, init::normal(1));
  const Tensor b2 = Params(two).parameter("b", {100}, init::normal(1)),
               a2 = Params(two).parameter("a", {100}, init::normal(1));
  const Tensor a3 = Params(other).parameter("a", {100}, init::normal(1));
  CHECK(a.to_doubles() == a2.to_doubles());
  CHECK(b.to_doubles() == b2.to_doubles());
  CHECK(a.to_doubles() != b.to_doubles());
  CHECK(a.to_doubles() != a3.to_doubles());
}

TEST_CASE("initialisers have the moments that they promise") {
  ParameterSet set(3);
  const Params p(set);
  const auto moments = [](const Tensor& t) {
    double sum = 0, squares = 0, largest = 0;
    for (const double x : t.to_doubles()) sum += x, squares += x * x, largest = std::max(largest, std::abs(x));
    return std::array{sum / static_cast<double>(t.numel()), std::sqrt(squares / static_cast<double>(t.numel())),
                      largest};
  };
  const auto normal = moments(p.parameter("normal", {100, 1000}, init::normal(0.02)));
  CHECK(std::abs(normal[0]) < 3e-4);
  CHECK(std::abs(normal[1] - 0.02) < 2e-4);
  const auto uniform = moments(p.parameter("uniform", {100, 1000}, init::kaiming_uniform(1000, std::sqrt(5.0))));
  const double bound = 1 / std::sqrt(1000.0);  // PyTorch's linear weight
  CHECK(std::abs(uniform[0]) < bound * 0.01);
  CHECK(std::abs(uniform[1] - bound / std::sqrt(3.0)) < bound * 0.005);
  CHECK(uniform[2] <= bound);
  CHECK(init::kaiming_normal(50).value == doctest::Approx(0.2));
  CHECK(init::xavier_uniform(2, 4).value == doctest::Approx(1));
}

TEST_CASE("save, load: the same bytes; a trainable value is a copy, a frozen one a view") {
  const TemporaryFolder folder;
  ParameterSet set(1);
  const Tiny tiny(Params(set) / "a" / 0);
  tiny.mean.fill(3);
  tiny.steps.fill(9);
  set.save(folder / "model.safetensors", {{"format", "pt"}});

  const Safetensors file(folder / "model.safetensors");
  CHECK(file.metadata().at("format") == "pt");
  ParameterSet trained(2), frozen(2);
  const Tiny t(Params(trained).from(file) / "a" / 0),
      f((Params(frozen) / "encoder").from(file, "a.").trainable(false) / 0);
  trained.check_all_used();
  frozen.check_all_used();
  CHECK(t.weight.to_doubles() == tiny.weight.to_doubles());
  CHECK(t.bias.to_doubles() == tiny.bias.to_doubles());
  CHECK(t.mean.to_doubles() == std::vector<double>{3, 3, 3});
  CHECK(t.steps.item() == 9);
  CHECK(t.weight.needs_grad());
  CHECK_FALSE(t.weight.storage()->owner);
  CHECK(f.weight.to_doubles() == tiny.weight.to_doubles());
  CHECK_FALSE(f.weight.needs_grad());
  CHECK(f.weight.storage()->owner);
  CHECK_FALSE(f.mean.storage()->owner);
  CHECK(frozen.trainable().empty());
  CHECK(frozen.find("encoder.0.weight"));
}

TEST_CASE("a set of another dtype converts; halves in a file become f32 masters") {
  const TemporaryFolder folder;
  const std::vector<float> values{1, -2.5f, 0.125f};
  for (const DType dtype : {DType::bf16, DType::f16, DType::f64}) {
    Tensor stored = Tensor::empty({3}, dtype);
    stored.copy_from(Tensor::from(values, {3}));
    write_safetensors(folder / "m", {{"x", stored}});
    for (const DType wanted : {DType::f32, DType::f64}) {
      ParameterSet set(0, wanted);
      const Tensor x = Params(set).from(Safetensors(folder / "m")).parameter("x", {3}, init::zeros());
      CHECK(x.dtype() == wanted);
      CHECK(x.to_doubles() == std::vector<double>{1, -2.5, 0.125});
    }
  }
}

TEST_CASE("a file that does not fit is refused in one line with file and tensor") {
  const TemporaryFolder folder;
  const std::string path = (folder / "m").string();
  const Tensor x = Tensor::zeros({2, 3}), n = Tensor::zeros({}, DType::i64);
  write_safetensors(path, {{"w", x}, {"n", n}, {"more.a", x}, {"more.b", x}});
  const Safetensors file(path);
  ParameterSet set;
  const Params p = Params(set).from(file);
  CHECK(error_of([&] {
          p.parameter("v", {2, 3}, init::zeros());
        }) == path + ": tensor 'v' is missing, the model needs it as f32 [2, 3]");
  CHECK(error_of([&] {
          p.parameter("w", {3, 2}, init::zeros());
        }) == path + ": tensor 'w': the shape must be [3, 2] but is [2, 3]");
  CHECK(error_of([&] { p.parameter("n", {}, init::zeros()); }) ==
        path + ": tensor 'n': the dtype must be f32, bf16, f16 or f64 but is i64");
  CHECK(error_of([&] {
          p.buffer("w", {2, 3}, 0, DType::i64);
        }) == path + ": tensor 'w': the dtype must be i64 but is f32");
  CHECK(error_of([&] { p.buffer("absent", {}, 0, DType::i64); }).find("is missing") != std::string::npos);
  CHECK(p.buffer("absent", {}, 4, DType::i64, true).item() == 4);
  p.parameter("w", {2, 3}, init::zeros());
  p.buffer("n", {}, 0, DType::i64);
  CHECK(error_of([&] { set.check_all_used(); }) ==
        path + ": every tensor must be one of the model's but 2 are not: 'more.a', ...");
  set.check_all_used({"more."});
  (p / "more").parameter("a", {2, 3}, init::zeros());
  CHECK(error_of([&] { set.check_all_used(); }) ==
        path + ": every tensor must be one of the model's but 1 is not: 'more.b'");
}

TEST_CASE("gradients are shared between a layer and the set") {
  ParameterSet set;
  const Tensor w = Params(set).parameter("w", {2}, init::ones());
  backward(w, Tensor::full({2}, 3));
  CHECK(set.find("w")->tensor.grad().to_doubles() == std::vector<double>{3, 3});
  set.clear_gradients();
  CHECK_FALSE(w.grad().defined());
}
