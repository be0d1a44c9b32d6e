// What op_check cannot see, since its f64 truth is the same code: where elements go, which of equal ones is taken, NaN,
// and draws.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/activation.h"
#include "kernels/arithmetic.h"
#include "kernels/arrange.h"
#include "kernels/cast.h"
#include "kernels/dropout.h"
#include "kernels/embedding.h"
#include "kernels/multinomial.h"
#include "kernels/reduce.h"
#include "tensor/autograd.h"

using namespace weft;

using Values = std::vector<double>;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();

Tensor counted(const Shape& shape, DType dtype = DType::f64) {
  Values v(shape.numel());
  std::iota(v.begin(), v.end(), 0);
  const Tensor t = Tensor::empty(shape, dtype);
  t.copy_from(Tensor::from(v, shape));
  return t;
}

Tensor ids(std::vector<int64_t> values) {
  const auto n = static_cast<int64_t>(values.size());
  return Tensor::from(values, {n});
}

// The place of one element, from its position on every axis.
int64_t place(const Shape& shape, const std::vector<int64_t>& at) {
  int64_t p = 0;
  for (int i = 0; i < shape.rank(); ++i) p = p * shape[i] + at[i];
  return p;
}

std::vector<int64_t> position(const Shape& shape, int64_t p) {
  std::vector<int64_t> at(shape.rank());
  for (int i = shape.rank() - 1; i >= 0; --i) at[i] = p % shape[i], p /= shape[i];
  return at;
}

}  // namespace

TEST_CASE("permute moves every element to its place, in elements of 1, 2, 4 and 8 bytes") {
  for (DType dtype : {DType::u8, DType::bf16, DType::f32, DType::f64}) {
    for (std::vector<int> axes :
         {std::vector<int>{0, 1, 2, 3}, {3, 2, 1, 0}, {0, 2, 1, 3}, {0, 3, 1, 2}, {2, 0, 3, 1}}) {
      for (const Shape& shape : {Shape{2, 3, 4, 5}, Shape{1, 70, 1, 67}, Shape{3, 33, 2, 1}}) {
        const Tensor x = cast(cast(counted(shape), DType::u8), dtype), y = permute(x, axes);
        const Values from = x.to_doubles(), to = y.to_doubles();
        bool right = true;
        for (int64_t p = 0; p < x.numel(); ++p) {
          const auto at = position(shape, p);
          std::vector<int64_t> moved;
          for (int a : axes) moved.push_back(at[a]);
          right = right && to[place(y.shape(), moved)] == from[p];
        }
        CHECK(right);
      }
    }
  }
}

TEST_CASE("concat, slice, gather, index_select, one_hot and embedding put known values in known places") {
  const Tensor x = counted({2, 3});
  CHECK(concat({x, x + 10}, 1).to_doubles() == Values{0, 1, 2, 10, 11, 12, 3, 4, 5, 13, 14, 15});
  CHECK(concat({x, counted({1, 3})}, 0).to_doubles() == Values{0, 1, 2, 3, 4, 5, 0, 1, 2});
  CHECK(concat({ids({1, 2}), ids({3})}, 0).to_doubles() == Values{1, 2, 3});
  CHECK(slice(x, 1, 1, 3).to_doubles() == Values{1, 2, 4, 5});
  CHECK(slice(x, -2, 1, 2).to_doubles() == Values{3, 4, 5});
  CHECK(gather(x, 1, ids({2, 0, 0, 1}).reshape({2, 2})).to_doubles() == Values{2, 0, 3, 4});
  CHECK(gather(x, 0, ids({1, 0, 1}).reshape({1, 3})).to_doubles() == Values{3, 1, 5});
  CHECK(index_select(x, ids({1, 1, 0})).to_doubles() == Values{3, 4, 5, 3, 4, 5, 0, 1, 2});
  CHECK(embedding(x, ids({1, 0})).to_doubles() == Values{3, 4, 5, 0, 1, 2});
  CHECK(one_hot(ids({2, 0}), 3).to_doubles() == Values{0, 0, 1, 1, 0, 0});
  CHECK(transpose(x, 0, 1).to_doubles() == Values{0, 3, 1, 4, 2, 5});
}

TEST_CASE("an embedding's gradient adds up the rows of equal ids and clears the rest") {
  Tensor weight = Tensor::zeros({4, 2}, DType::f64);
  weight.set_requires_grad();
  backward(embedding(weight, ids({2, 0, 2, 2})), counted({4, 2}));
  CHECK(weight.grad().to_doubles() == Values{2, 3, 0, 0, 10, 13, 0, 0});
}

TEST_CASE("arithmetic broadcasts as numpy does") {
  CHECK((counted({2, 1}) * 10 + counted({3})).to_doubles() == Values{0, 1, 2, 10, 11, 12});
  CHECK((counted({2, 3}) - counted({3})).to_doubles() == Values{0, 0, 0, 3, 3, 3});
  CHECK((12 / (counted({3}) + 1)).to_doubles() == Values{12, 6, 4});
  CHECK((1 - counted({3})).to_doubles() == Values{1, 0, -1});
}

TEST_CASE("reductions of known values, and which of equal ones is taken") {
  const Tensor x = Tensor::from(Values{1, 5, 5, 7, 2, 7}, {2, 3});
  CHECK(sum(x).item() == 27);
  CHECK(mean(x).item() == 4.5);
  CHECK(sum(x, 0).to_doubles() == Values{8, 7, 12});
  CHECK(mean(x, 1, true).shape() == Shape{2, 1});
  CHECK(sum(x, 1).to_doubles() == Values{11, 16});
  CHECK(max(x, 1).to_doubles() == Values{5, 7});
  CHECK(argmax(x).to_doubles() == Values{1, 0});
  CHECK(argmax(x, 0).to_doubles() == Values{1, 0, 1});
  const TopK top = topk(x, 2);
  CHECK(top.values.to_doubles() == Values{5, 5, 7, 7});
  CHECK(top.indices.to_doubles() == Values{1, 2, 0, 2});
  CHECK(std::isnan(mean(Tensor::zeros({0})).item()));
  CHECK(sum(Tensor::zeros({3, 0}), 1).to_doubles() == Values{0, 0, 0});

  Tensor tied = Tensor::from(Values{3, 3, 1}, {3});
  tied.set_requires_grad();
  backward(max(tied, 0));
  CHECK(tied.grad().to_doubles() == Values{1, 0, 0});
}

TEST_CASE("NaN stays NaN and is greater than every number") {
  for (DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    const Tensor x = cast(Tensor::from(Values{1, not_a_number, inf, not_a_number, 2}, {5}), dtype);
    CHECK(std::isnan(max(x, 0).item()));
    CHECK(argmax(x).item() == 1);
    CHECK(argmax(x.reshape({5, 1}), 0).item() == 1);
    CHECK(topk(x, 4).indices.to_doubles() == Values{1, 3, 2, 4});
    CHECK(argmax(cast(Tensor::from(Values{-inf, -inf}, {2}), dtype)).item() == 0);
    for (auto op : {relu, gelu, gelu_tanh, silu, sigmoid, tanh, exp, log, neg})
      CHECK(std::isnan(op(x).to_doubles()[1]));
    CHECK(std::isnan(sum(x).item()));
    CHECK(std::isnan(cast(x, DType::bf16).to_doubles()[3]));
  }
  CHECK(relu(Tensor::from(Values{-1, 0, 2, -inf, inf}, {5})).to_doubles() == Values{0, 0, 2, 0, inf});
}

TEST_CASE("dropout keeps what the stream says, and only in training") {
  const Tensor x = Tensor::full({1001}, 2);
  Random random{5}, again{5};
  CHECK(dropout(x, 0.3, random).storage() == x.storage());
  CHECK(random.offset == 0);
  const Training training;
  CHECK(dropout(x, 0, random).storage() == x.storage());
  const Values y = dropout(x, 0.25, random).to_doubles();
  CHECK(random.offset == 251);
  const PhiloxStream stream = again.reserve(1001);
  bool right = true;
  int kept = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const bool keep = stream.uniform(i) >= 0.25f;
    right = right && y[i] == (keep ? static_cast<double>(2 * (1 / 0.75f)) : 0);
    kept += keep;
  }
  CHECK(right);
  CHECK(std::abs(kept - 751) < 55);  // four standard deviations
  CHECK(dropout(x, 0.25, random).to_doubles() != y);
}

TEST_CASE("draws follow the weights") {
  const Tensor p = Tensor::from(Values{0, 1, 3, 0, 0, 4, 0, 0}, {2, 4});
  Random random{9};
  const int64_t n = 20000;
  const Values y = multinomial(p, n, random).to_doubles();
  int64_t ones = 0, twos = 0;
  bool second = true;
  for (int64_t j = 0; j < n; ++j) {
    ones += y[j] == 1;
    twos += y[j] == 2;
    second = second && y[n + j] == 1;
  }
  CHECK(ones + twos == n);
  CHECK(std::abs(ones - n / 4) < 4 * std::sqrt(n * 0.25 * 0.75));
  CHECK(second);
  CHECK(random.offset == static_cast<uint64_t>(n));
  CHECK_THROWS_WITH(backward(multinomial(p, 1, random).leading(0, 1)),
                    "[backward] nothing that needs a gradient led to this tensor");
  CHECK_THROWS_WITH(backward(multinomial(slice(p, 0, 0, 1), 1, random)),
                    "[backward] multinomial has no gradient: a draw is not differentiable");
}
