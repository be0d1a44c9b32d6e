// The tape itself, with three ops of its own that are simple enough to be right by inspection.
#include "tensor/autograd.h"

#include <doctest/doctest.h>

#include <cstring>

#include "tensor/memory.h"
#include "tensor/recompute.h"

using namespace weft;

namespace {

Tensor leaf(std::vector<double> values, const Shape& shape) {
  Tensor t = Tensor::from(values, shape);
  t.set_requires_grad();
  return t;
}

// y = k x
Tensor times(const Tensor& x, double k) {
  const auto scaled = [](const Tensor& t, double k) {
    std::vector<double> v = t.to_doubles();
    for (double& e : v) e *= k;
    return Tensor::from(v, t.shape());
  };
  return record("times", scaled(x, k), {x}, [=](const Tensor& dy) -> Tensors { return {scaled(dy, k)}; });
}

// y = x^2, which keeps x.
Tensor squared(const Tensor& x) {
  const auto product = [](const Tensor& a, const Tensor& b, double k) {
    std::vector<double> v = a.to_doubles();
    const std::vector<double> w = b.to_doubles();
    for (size_t i = 0; i < v.size(); ++i) v[i] *= k * w[i];
    return Tensor::from(v, a.shape());
  };
  return record("squared", product(x, x, 1), {x},
                [=, x = x.detach()](const Tensor& dy) -> Tensors { return {product(dy, x, 2)}; });
}

// y = a + b, whose backward hands dy on twice.
Tensor plus(const Tensor& a, const Tensor& b) {
  std::vector<double> v = a.to_doubles();
  const std::vector<double> w = b.to_doubles();
  for (size_t i = 0; i < v.size(); ++i) v[i] += w[i];
  return record("plus", Tensor::from(v, a.shape()), {a, b}, [](const Tensor& dy) -> Tensors { return {dy, dy}; });
}

// The sum of all elements.
Tensor total(const Tensor& x) {
  double sum = 0;
  for (double v : x.to_doubles()) sum += v;
  return record("total", Tensor::full({}, sum, DType::f64), {x}, [shape = x.shape()](const Tensor& dy) -> Tensors {
    return {Tensor::full(shape, dy.item(), DType::f64)};
  });
}

using Values = std::vector<double>;

}  // namespace

TEST_CASE("gradients of a shared input add up, within one pass and over several") {
  const Tensor x = leaf({1, 2}, {2});
  backward(total(plus(times(x, 3), plus(x, x))));
  CHECK(x.grad().to_doubles() == Values{5, 5});
  backward(total(times(x, 2)), 0.5);
  CHECK(x.grad().to_doubles() == Values{6, 6});
  x.clear_grad();
  CHECK(!x.grad().defined());
}

TEST_CASE("a node runs once, after all that use its result") {
  const Tensor x = leaf({1}, {1});
  int runs = 0;
  Tensor shared = record("counted", x.clone(), {x}, [&runs](const Tensor& dy) -> Tensors {
    ++runs;
    return {dy};
  });
  // One short way and one long way to the same value.
  backward(total(plus(shared, times(times(times(shared, 2), 2), 2))));
  CHECK(runs == 1);
  CHECK(x.grad().to_doubles() == Values{9});
}

TEST_CASE("a gradient handed on to several inputs is not changed by what is added to one of them") {
  const Tensor a = leaf({1}, {1}), b = leaf({1}, {1});
  backward(total(plus(plus(a, b), times(a, 10))));
  CHECK(a.grad().to_doubles() == Values{11});
  CHECK(b.grad().to_doubles() == Values{1});

  const Tensor dy = Tensor::full({1}, 1, DType::f64);
  backward(plus(a, b), dy);
  backward(plus(a, b), dy);
  CHECK(dy.to_doubles() == Values{1});
  CHECK(a.grad().to_doubles() == Values{13});
  CHECK(b.grad().to_doubles() == Values{3});

  const Tensor held = a.grad();
  backward(total(a.reshape({1})));
  CHECK(held.to_doubles() == Values{13});
  CHECK(a.grad().to_doubles() == Values{14});
}

TEST_CASE("nothing is recorded without need") {
  const Tensor x = leaf({1}, {1}), constant = Tensor::zeros({1}, DType::f64);
  CHECK(!times(constant, 2).slot());
  {
    const NoGrad no_grad;
    CHECK(!grad_enabled());
    CHECK(!x.needs_grad());
    CHECK(!times(x, 2).slot());
    { const NoGrad inner; }
    CHECK(!grad_enabled());
  }
  CHECK(grad_enabled());
  CHECK(times(x, 2).needs_grad());
  CHECK(!times(x, 2).detach().needs_grad());

  CHECK(!Training::active());
  {
    const Training training;
    CHECK(Training::active());
    const Training off(false);
    CHECK(!Training::active());
  }
  CHECK(!Training::active());
}

TEST_CASE("an input that needs no gradient may be left out, one that does may not") {
  const Tensor x = leaf({1}, {1}), constant = Tensor::zeros({1}, DType::f64);
  const auto op = [](const Tensor& a, const Tensor& b, Backward backward) {
    return record("odd", Tensor::zeros({1}, DType::f64), {a, b}, backward);
  };
  backward(op(x, constant, [](const Tensor& dy) -> Tensors { return {dy, Tensor()}; }));
  CHECK(x.grad().to_doubles() == Values{1});
  CHECK_THROWS_WITH(backward(op(constant, x,
                                [](const Tensor& dy) -> Tensors {
                                  return {dy, Tensor()};
                                })),
                    "[odd] the backward returned no gradient for input 1, which needs one");
  CHECK_THROWS_WITH(backward(op(x, x, [](const Tensor& dy) -> Tensors { return {dy}; })),
                    "[odd] the backward must return 2 gradients but returned 1");
  CHECK_THROWS_WITH(backward(op(x, constant,
                                [](const Tensor&) -> Tensors {
                                  return {Tensor::zeros({2}), Tensor()};
                                })),
                    "[odd] the gradient of input 0 must be f64 [1] but is f32 [2]");
}

TEST_CASE("backward runs once a forward pass") {
  const Tensor x = leaf({1}, {1});
  const Tensor loss = total(times(x, 2));
  backward(loss);
  CHECK_THROWS_WITH(backward(loss), "[backward] the tape up to total was already used; run the forward pass again");
}

TEST_CASE("what backward frees is what the op saved") {
  const Tensor x = leaf({1}, {1});
  const Tensor saved = Tensor::zeros({1000}, DType::f64);
  const Tensor y = record("saver", x.clone(), {x}, [saved](const Tensor& dy) -> Tensors { return {dy}; });
  CHECK(saved.storage().use_count() == 2);
  backward(y);
  CHECK(saved.storage().use_count() == 1);
}

TEST_CASE("recompute: the same gradients, and in between the inputs alone are kept") {
  int calls = 0;
  const auto f = [&calls](const Tensors& in) {
    ++calls;
    const Tensor twice = times(in[0], 2);
    return plus(times(plus(twice, in[1]), 3), twice);
  };
  const Tensor a = leaf({1, 2}, {2}), b = leaf({3, 4}, {2}), fixed = Tensor::from(Values{5, 6}, {2});
  backward(total(times(plus(recompute("f", {a, b}, f), a), 10)));
  CHECK(calls == 2);
  CHECK(a.grad().to_doubles() == Values{90, 90});  // 10 (3 * 2 + 2 + 1)
  CHECK(b.grad().to_doubles() == Values{30, 30});
  a.clear_grad();
  const Tensor y = recompute("f", {a, fixed}, f);
  CHECK(y.to_doubles() == Values{23, 34});
  backward(total(y));
  CHECK(a.grad().to_doubles() == Values{8, 8});
  CHECK(!fixed.grad().defined());
  {
    const NoGrad no_grad;
    calls = 0;
    CHECK(!recompute("f", {a, b}, f).slot());
    CHECK(calls == 1);
  }
  // Eight results inside, of which none lives on. The gradient at 1 is 2^8.
  const Tensor x = leaf(Values(1 << 16, 1), {1 << 16});
  const auto chain = [](const Tensors& in) {
    Tensor h = in[0];
    for (int i = 0; i < 8; ++i) h = squared(h);
    return h;
  };
  const int64_t before = memory_stats(Device::cpu).live_bytes, each = x.numel() * 8;
  {
    const Tensor plain = chain({x});
    CHECK(memory_stats(Device::cpu).live_bytes - before >= 8 * each);
  }
  const Tensor cheap = recompute("chain", {x}, chain);
  CHECK(memory_stats(Device::cpu).live_bytes - before < 2 * each);
  backward(total(cheap));
  CHECK(x.grad().to_doubles()[7] == 256);
}

TEST_CASE("misuse of backward") {
  const Tensor x = leaf({1, 2}, {2});
  CHECK_THROWS_WITH(backward(times(x, 2)), "[backward] the loss must have 1 element but has shape [2]");
  CHECK_THROWS_WITH(backward(Tensor::zeros({1})), "[backward] nothing that needs a gradient led to this tensor");
  CHECK_THROWS_WITH(backward(times(x, 2), Tensor::zeros({3})),
                    "[backward] the gradient must be f64 [2] but is f32 [3]");
  const Tensor index = no_gradient("argmax", Tensor::zeros({1}), "it is piecewise constant");
  CHECK(!index.needs_grad());
  CHECK_THROWS_WITH(backward(index), "[backward] argmax has no gradient: it is piecewise constant");
  Tensor integers = Tensor::zeros({1}, DType::i64), result = times(x, 2);
  CHECK_THROWS_WITH(integers.set_requires_grad(),
                    "[set_requires_grad] only floating tensors have gradients but the dtype is i64");
  CHECK_THROWS_WITH(result.set_requires_grad(),
                    "[set_requires_grad] only a leaf can be told to keep its gradient, but this came from times");
  CHECK_THROWS_WITH(accumulate(Tensor::zeros({2}), Tensor::zeros({3})),
                    "[accumulate] the shapes must be equal but are [2] and [3]");
}

TEST_CASE("views: reshape and leading") {
  const Tensor x = leaf({1, 2, 3, 4, 5, 6}, {3, 2});
  const Tensor middle = x.leading(1, 2);
  CHECK(middle.to_doubles() == Values{3, 4});
  CHECK(middle.storage() == x.storage());
  backward(times(middle.reshape({2, 1}), 3), Tensor::from(Values{1, 10}, {2, 1}));
  CHECK(x.grad().shape() == Shape{3, 2});
  CHECK(x.grad().to_doubles() == Values{0, 0, 3, 30, 0, 0});
  backward(x.leading(3, 3), Tensor::zeros({0, 2}, DType::f64));
  CHECK(x.grad().to_doubles() == Values{0, 0, 3, 30, 0, 0});
}

TEST_CASE("accumulate adds in place, across dtypes") {
  const Tensor f32 = Tensor::full({40000}, 1), half = Tensor::full({40000}, 0.5, DType::bf16);
  const uint64_t version = f32.storage()->version;
  accumulate(f32, half);
  CHECK(f32.to_doubles() == Values(40000, 1.5));
  CHECK(f32.storage()->version == version + 1);
  accumulate(half, f32);
  CHECK(half.to_doubles() == Values(40000, 2));
}

TEST_CASE("unbroadcast sums over the axes that were repeated") {
  struct Row {
    Shape whole, part;
  };
  for (const auto& [whole, part] :
       {Row{{2, 3}, {2, 3}}, Row{{2, 3}, {3}}, Row{{2, 3}, {2, 1}}, Row{{2, 3}, {}}, Row{{2, 3}, {1, 1}},
        Row{{1, 3}, {3}}, Row{{2, 3, 4}, {3, 1}}, Row{{2, 3, 4}, {2, 1, 4}}, Row{{2, 3, 4, 5, 6, 7}, {3, 1, 5, 1, 7}},
        Row{{0, 3}, {3}}, Row{{0, 3}, {1, 3}}, Row{{3, 0}, {3, 1}}, Row{{300, 1000}, {1000}},
        Row{{300, 1000}, {300, 1}}, Row{{300, 1000}, {}}, Row{{4, 100, 1000}, {1, 100, 1000}},
        Row{{100, 50, 60}, {50, 1}}, Row{{100, 50, 60}, {100, 1, 60}}, Row{{1, 100000, 3}, {3}}}) {
    CAPTURE(fmt::format("{} {}", whole, part));
    Values dy(whole.numel());
    for (size_t i = 0; i < dy.size(); ++i) dy[i] = static_cast<double>(i * 37 % 101);
    // Element by element, from the definition.
    Values expected(part.numel(), 0);
    for (int64_t i = 0; i < whole.numel(); ++i) {
      int64_t rest = i, at = 0, step = 1;
      for (int k = 1; k <= whole.rank(); ++k) {
        const int64_t d = k <= part.rank() ? part[-k] : 1;
        at += d == 1 ? 0 : rest % whole[-k] * step;
        step *= d;
        rest /= whole[-k];
      }
      expected[at] += dy[i];
    }
    const Tensor dx = unbroadcast(Tensor::from(dy, whole), part);
    CHECK(dx.shape() == part);
    CHECK((dx.to_doubles() == expected));
    // f32, with the same bytes again.
    const Tensor single = Tensor::empty(whole);
    single.copy_from(Tensor::from(dy, whole));
    const Tensor a = unbroadcast(single, part), b = unbroadcast(single, part);
    CHECK((a.nbytes() == 0 || std::memcmp(a.raw(), b.raw(), a.nbytes()) == 0));
  }
  CHECK_THROWS_WITH(unbroadcast(Tensor::zeros({2, 3}), {2}), "[unbroadcast] shape [2] was not broadcast to [2, 3]");
  CHECK_THROWS_WITH(unbroadcast(Tensor::zeros({3}), {2, 3}), "[unbroadcast] shape [2, 3] was not broadcast to [3]");
}
