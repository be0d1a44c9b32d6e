#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <thread>

#include "kernels/cast.h"
#include "kernels/conv2d.h"
#include "kernels/device/onednn.h"
#include "kernels/device/product.h"
#include "kernels/matmul.h"
#include "kernels/pool.h"
#include "tensor/autograd.h"
#include "tensor/safetensors.h"
#include "tests/temporary_folder.h"

using namespace weft;

// Rows for which products are oneDNN's on this processor.
const int64_t many = product_takes(16, 64, 64, false) ? 1100 : 16;

TEST_CASE("a packed weight is kept until its storage changes or goes") {
  const int64_t before = onednn::packed_bytes();
  const Tensor x = Tensor::full({many, 64}, 1);
  {
    const Tensor w = Tensor::full({128, 64}, 0.5);
    CHECK(linear(x, w).to_doubles()[0] == 32);
    const int64_t kept = onednn::packed_bytes() - before;
    CHECK(kept >= w.nbytes());
    CHECK(kept <= 2 * w.nbytes());
    linear(x, w);
    CHECK(onednn::packed_bytes() - before == kept);
    w.fill(0.25);
    CHECK(linear(x, w).to_doubles()[0] == 16);
    CHECK(onednn::packed_bytes() - before == kept);
  }
  CHECK(onednn::packed_bytes() == before);
}

TEST_CASE("a bf16 weight that is kept is made anew when it changes, and goes with it") {
  const NoGrad no_grad;
  const int64_t before = onednn::packed_bytes();
  const Tensor x = Tensor::full({8, 64}, 1, DType::bf16), image = Tensor::full({1, 4, 4, 32}, 1, DType::bf16);
  {
    const Tensor w = Tensor::full({128, 64}, 0.5, DType::bf16), k = Tensor::full({32, 32, 3, 3}, 1, DType::bf16);
    for (const double value : {0.5, 0.25}) {
      w.fill(value);
      k.fill(value);
      CHECK(linear(x, w).to_doubles()[0] == 64 * value);
      CHECK(conv2d(image, k).to_doubles()[0] == 288 * value);
    }
    CHECK(onednn::packed_bytes() > before);
  }
  CHECK(onednn::packed_bytes() == before);
}

TEST_CASE("products of a weight in a file are those of one in memory, and so they are again") {
  const NoGrad no_grad;
  const TemporaryFolder folder;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const auto drawn = [&](const Shape& shape) {
    const Tensor t = Tensor::empty(shape);
    std::generate_n(t.data<float>(), t.numel(), [&] { return normal(random); });
    return t;
  };
  const Tensor weight = drawn({523, 301}), bias = drawn({523});
  write_safetensors(folder / "weights", {{"weight", weight}});
  const Tensor mapped = Safetensors(folder / "weights").tensor("weight");
  for (const int64_t rows : {1, 2, 5, 13, 17, 256, 1025, 2111}) {
    const Tensor x = drawn({rows, 301});
    // Of f64, since that of f32 in memory may be the same code.
    const Tensor expected = linear(cast(x, DType::f64), cast(weight, DType::f64), cast(bias, DType::f64));
    for (int time = 0; time < 2; ++time) {
      const Tensor y = linear(x, mapped, bias);
      double worst = 0;
      for (int64_t i = 0; i < y.numel(); ++i) {
        const double apart = std::abs(static_cast<double>(y.data<float>()[i]) - expected.data<double>()[i]);
        if (!(apart <= worst)) worst = apart;
      }
      CHECK(worst < 1e-4);  // of sums of 301 products of size 1
    }
  }
}

TEST_CASE("a weight under training is not kept") {
  const int64_t before = onednn::packed_bytes();
  const Tensor x = Tensor::full({many, 64}, 1);
  Tensor w = Tensor::full({128, 64}, 0.5), k = Tensor::full({32, 32, 3, 3}, 1);
  w.set_requires_grad();
  k.set_requires_grad();
  backward(linear(x, w), Tensor::full({many, 128}, 1));
  conv2d(Tensor::full({1, 4, 4, 32}, 1), k);
  CHECK(onednn::packed_bytes() == before);
}

TEST_CASE("views of one storage are packed apart") {
  const NoGrad no_grad;
  Tensor both = Tensor::full({128, 64}, 1);
  both.leading(64, 128).fill(2);
  const Tensor x = Tensor::full({many, 64}, 1);
  CHECK(linear(x, both.leading(0, 64)).to_doubles()[0] == 64);
  CHECK(linear(x, both.leading(64, 128)).to_doubles()[0] == 128);
}

TEST_CASE("a grouped convolution's weight is packed apart for every shape in which one storage is seen") {
  const NoGrad no_grad;
  const int64_t before = onednn::packed_bytes();
  Tensor w = Tensor::full({64, 8, 3, 3}, 1);
  w.leading(32, 64).fill(3);
  const auto last_of_middle = [](const Tensor& w) {
    const Conv2dOptions options{1, 1, static_cast<int>(w.dim(0) / w.dim(1))};
    return conv2d(Tensor::full({1, 3, 3, w.dim(0)}, 1), w, {}, options).to_doubles()[5 * w.dim(0) - 1];
  };
  CHECK(last_of_middle(w.leading(0, 32)) == 72);
  CHECK(onednn::packed_bytes() > before);
  CHECK(last_of_middle(w) == 216);
  CHECK(last_of_middle(w.reshape({32, 16, 3, 3})) == 432);
  w.fill(2);
  CHECK(last_of_middle(w) == 144);
}

TEST_CASE("NaN stays NaN") {
  for (DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    const double nan = std::nan("");
    for (Activation a :
         {Activation::none, Activation::relu, Activation::gelu, Activation::gelu_tanh, Activation::silu}) {
      CHECK(std::isnan(
          linear(Tensor::full({3, 32}, nan, dtype), Tensor::full({16, 32}, 1, dtype), {}, a).to_doubles()[5]));
    }
    const Tensor image = Tensor::full({1, 4, 4, 16}, nan, dtype);
    for (int groups : {1, 2, 4}) {
      const Tensor w = Tensor::full({16, 16 / groups, 3, 3}, 1, dtype);
      CHECK(std::isnan(conv2d(image, w, {}, {1, 1, groups, Activation::relu}).to_doubles()[0]));
    }
    CHECK(std::isnan(max_pool2d(image, 2, 2).to_doubles()[0]));
    // One NaN in a window, wherever it stands.
    for (int64_t at = 0; at < 4; ++at) {
      std::vector<double> values{1, 2, 3, 4};
      values[at] = nan;
      Tensor x = Tensor::empty({1, 2, 2, 1}, dtype);
      x.copy_from(Tensor::from(values, {1, 2, 2, 1}));
      CHECK(std::isnan(max_pool2d(x, 2, 2).to_doubles()[0]));
    }
  }
}

TEST_CASE("a convolution whose input can be made again does not keep it") {
  const Tensor x = Tensor::full({1, 4, 4, 16}, 1, DType::f32);
  Tensor w = Tensor::full({16, 16, 3, 3}, 1, DType::f32);
  w.set_requires_grad();
  const auto again = [] { return Tensor::full({1, 4, 4, 16}, 1, DType::f32); };
  {
    const Tensor y = conv2d(x, w, {}, {1, 1, 1});
    CHECK(x.storage().use_count() == 2);
  }
  const Tensor y = conv2d(x, w, {}, {1, 1, 1}, again);
  CHECK(x.storage().use_count() == 1);
}

TEST_CASE("a NaN stays in its column of a product") {
  for (bool transposed : {false, true}) {
    const int64_t n = 1024, k = 260, column = n - 1, row = 5;
    Tensor b = Tensor::full(transposed ? Shape{n, k} : Shape{k, n}, 1, DType::f32);
    b.data<float>()[transposed ? column * k + row : row * n + column] = std::nanf("");
    const std::vector<double> y =
        matmul(Tensor::full({16, k}, 1, DType::f32), b, {}, {false, transposed}).to_doubles();
    for (int64_t i = 0; i < 16 * n; ++i) CHECK(std::isnan(y[i]) == (i % n == column));
  }
}

TEST_CASE("many threads may compute at once") {
  const Tensor x = Tensor::full({many + 8, 64}, 1), w = Tensor::full({96, 64}, 0.5), k = Tensor::full({32, 32, 3, 3}, 1),
               image = Tensor::full({1, 4, 4, 32}, 1);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const NoGrad no_grad;
      for (int i = 0; i < 20; ++i) {
        wrong[t] += linear(x.leading(0, (i % 2 ? 1 : many) + i % 8), w).to_doubles()[0] != 32;
        wrong[t] += conv2d(image, k).to_doubles()[0] != 288;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(wrong == std::vector<int>(4));
}

TEST_CASE("a folded batch norm does what the two layers do") {
  const NoGrad no_grad;
  const Tensor x = Tensor::full({1, 3, 3, 2}, 0.5), w = Tensor::full({4, 2, 1, 1}, 2), gamma = Tensor::full({4}, 3),
               beta = Tensor::full({4}, -1), mean = Tensor::full({4}, 0.25), var = Tensor::full({4}, 4);
  const auto [weight, bias] = fold_batch_norm(w, gamma, beta, mean, var, 0);
  // conv = 2, (2 - 0.25) / 2 * 3 - 1 = 1.625
  CHECK(conv2d(x, weight, bias).to_doubles()[0] == 1.625);
}
