// Layers: names, first values, the dtype of the computation, and agreement with the ops that they are made of.
#include "nn/layers.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/arithmetic.h"
#include "kernels/arrange.h"
#include "kernels/cast.h"
#include "kernels/matmul.h"
#include "kernels/reduce.h"
#include "kernels/softmax.h"
#include "tensor/autograd.h"

using namespace weft;

namespace {

Tensor normal(const Shape& shape, uint64_t seed, DType dtype = DType::f32) {
  ParameterSet set(seed, DType::f64);
  return cast(Params(set).parameter("x", shape, init::normal(1)).detach(), dtype);
}

double largest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  const auto x = a.to_doubles(), y = b.to_doubles();
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!(std::abs(x[i] - y[i]) <= worst)) worst = std::abs(x[i] - y[i]);
  }
  return worst;
}

std::string names(const ParameterSet& set) {
  std::string all;
  for (const Parameter& p : set.all()) all += p.name + (p.decay ? "+ " : " ");
  return all;
}

double largest(const Tensor& t) {
  double most = 0;
  for (const double v : t.to_doubles()) most = std::max(most, std::abs(v));
  return most;
}

}  // namespace

TEST_CASE("names are PyTorch's; weight decay is for weights only") {
  ParameterSet set;
  const Params p(set);
  const Linear linear(p / "fc", 100, 50);
  const Conv2d conv(p / "conv1", 8, 16, 3, {.groups = 4});
  const BatchNorm2d bn(p / "bn1", 16);
  const LayerNorm ln(p / "ln", 8);
  const RmsNorm rms(p / "rms", 8);
  const Embedding embedding(p / "shared", 10, 8);
  CHECK(names(set) ==
        "fc.weight+ fc.bias conv1.weight+ conv1.bias bn1.weight bn1.bias bn1.running_mean bn1.running_var "
        "bn1.num_batches_tracked "
        "ln.weight ln.bias rms.weight shared.weight ");
  CHECK(conv.weight.shape() == Shape{16, 2, 3, 3});
  // PyTorch's bound 1 / sqrt(fan in), reached but not passed.
  CHECK(largest(linear.weight) <= 0.1);
  CHECK(largest(linear.weight) > 0.099);
  CHECK(largest(linear.bias) > 0.08);
  CHECK(largest(conv.weight) <= 1 / std::sqrt(18.0));
  CHECK(largest(conv.weight) > 0.95 / std::sqrt(18.0));
  CHECK_THROWS_WITH(Conv2d(p / "bad", 6, 8, 3, {.groups = 4}),
                    "[conv2d] groups must divide the 6 input and 8 output channels but are 4");
}

TEST_CASE("in bf16 the gradient reaches the f32 master") {
  ParameterSet set(1);
  const Linear layer(Params(set), 64, 32);
  const Tensor x = normal({16, 64}, 2, DType::bf16);
  const Tensor y = layer(x);
  CHECK(y.dtype() == DType::bf16);
  backward(y, Tensor::full({16, 32}, 1, DType::bf16));
  REQUIRE(layer.weight.grad().defined());
  CHECK(layer.weight.grad().dtype() == DType::f32);
  CHECK(layer.bias.grad().dtype() == DType::f32);
  CHECK(layer.bias.grad().to_doubles() == std::vector<double>(32, 16));
  CHECK(largest_difference(layer.weight.grad().leading(0, 1).reshape({64}), sum(cast(x, DType::f32), 0)) < 0.1);
}

TEST_CASE("the bf16 copy is kept until the master changes") {
  ParameterSet set(1);
  const Tensor master = Params(set).parameter("w", {4}, init::ones());
  const ComputeWeight as;
  {
    const NoGrad no_grad;
    CHECK(as(master, DType::f32).storage() == master.storage());
    const auto first = as(master, DType::bf16).storage();
    CHECK(as(master, DType::bf16).storage() == first);
    master.fill(2);
    const Tensor second = as(master, DType::bf16);
    CHECK(second.storage() != first);
    CHECK(second.to_doubles()[0] == 2);
    const Tensor other = Tensor::full({4}, 3);
    other.mark_modified();
    CHECK(as(other, DType::bf16).to_doubles()[0] == 3);
  }
  CHECK(as(master, DType::bf16).needs_grad());
  CHECK_FALSE(as(Tensor(), DType::bf16).defined());
}

TEST_CASE("batch norm counts batches and moves its statistics in training only") {
  ParameterSet set;
  const BatchNorm2d norm(Params(set), 3);
  const Tensor x = normal({4, 5, 5, 3}, 3);
  {
    const NoGrad no_grad;
    CHECK(largest_difference(norm(x), mul(x, 1 / std::sqrt(1 + 1e-5))) < 1e-5);
  }
  CHECK(norm.num_batches_tracked.item() == 0);
  CHECK(norm.running_mean.to_doubles() == std::vector<double>{0, 0, 0});
  const Training training;
  const Tensor y = norm(x, {.relu = true});
  CHECK(norm.num_batches_tracked.item() == 1);
  CHECK(norm.running_mean.to_doubles() != std::vector<double>{0, 0, 0});
  for (const double v : y.to_doubles()) CHECK(v >= 0);
}

TEST_CASE("convolution and batch norm are folded in inference, to the same result") {
  for (const bool bias : {false, true}) {
    ParameterSet set(4);
    const Params p(set);
    const Conv2d conv(p / "conv", 8, 16, 3, {.padding = 1, .groups = 2}, bias);
    const BatchNorm2d norm(p / "bn", 16);
    norm.weight.copy_from(normal({16}, 5));
    norm.bias.copy_from(normal({16}, 6));
    norm.running_mean.copy_from(normal({16}, 7));
    norm.running_var.copy_from(exp(normal({16}, 8)));
    const Tensor x = normal({2, 7, 9, 8}, 9), residual = normal({2, 7, 9, 16}, 10);
    const NoGrad no_grad;
    for (const bool relu : {false, true}) {
      for (const Tensor& shortcut : {Tensor(), residual}) {
        CHECK(largest_difference(conv(x, norm, relu, shortcut), norm(conv(x), {.relu = relu}, shortcut)) < 2e-5);
      }
    }
    // A changed parameter is seen.
    norm.running_var.copy_from(exp(normal({16}, 11)));
    CHECK(largest_difference(conv(x, norm, true), norm(conv(x), {.relu = true})) < 2e-5);
    const Tensor half = cast(x, DType::bf16);
    CHECK(largest_difference(conv(half, norm, true), norm(conv(x), {.relu = true})) < 0.2);
    CHECK(conv(half, norm, true).dtype() == DType::bf16);
  }
}

TEST_CASE("in inference a NaN stays one through convolution and ReLU") {
  const NoGrad no_grad;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const Conv2dOptions& options : {Conv2dOptions{}, Conv2dOptions{.padding = 1, .groups = 8}}) {
      const int kernel = options.padding > 0 ? 3 : 1;
      ParameterSet set(4);
      const Conv2d conv(Params(set) / "conv", 32, 32, kernel, options, false);
      const BatchNorm2d norm(Params(set) / "bn", 32);
      const Tensor x = Tensor::full({1, 2, 2, 32}, std::nan(""), dtype);
      for (const double v : conv(x, norm, true).to_doubles()) CHECK(std::isnan(v));
    }
  }
}

TEST_CASE("training through convolution and batch norm records both") {
  ParameterSet set(4);
  const Params p(set);
  const Conv2d conv(p / "conv", 4, 8, 1, {}, false);
  const BatchNorm2d norm(p / "bn", 8);
  const Training training;
  const Tensor y = conv(normal({2, 3, 3, 4}, 9), norm, true);
  backward(y, normal(y.shape(), 1));
  CHECK(largest(conv.weight.grad()) > 0);
  CHECK(norm.num_batches_tracked.item() == 1);
}

TEST_CASE("multi-head attention equals its formula, head by head") {
  const int64_t B = 2, T = 5, S = 7, W = 12, H = 3, D = 4;
  ParameterSet set(6, DType::f64);
  const MultiHeadAttention layer(Params(set) / "attn", W, {.heads = H});
  CHECK(
      names(set) ==
      "attn.q_proj.weight+ attn.q_proj.bias attn.k_proj.weight+ attn.k_proj.bias attn.v_proj.weight+ attn.v_proj.bias "
      "attn.out_proj.weight+ attn.out_proj.bias ");
  for (const Parameter& p : set.all()) p.tensor.copy_from(normal(p.tensor.shape(), p.name.size(), DType::f64));
  const NoGrad no_grad;
  const Tensor x = normal({B, T, W}, 1, DType::f64), memory = normal({B, S, W}, 2, DType::f64);
  const Tensor q = layer.q(x), k = layer.k(memory), v = layer.v(memory);
  Tensors heads;
  for (int64_t h = 0; h < H; ++h) {
    const auto part = [&](const Tensor& t) { return slice(t, 2, h * D, (h + 1) * D); };
    const Tensor scores =
        mul(matmul(part(q), part(k), {}, {.transpose_b = true}), 1 / std::sqrt(static_cast<double>(D)));
    heads.push_back(matmul(softmax(scores), part(v)));
  }
  CHECK(largest_difference(layer(x, memory, {}), layer.out(concat(heads, 2))) < 1e-12);
  CHECK(largest_difference(layer(x), layer(x, x, {})) == 0);
  CHECK_THROWS_WITH(MultiHeadAttention(Params(set) / "b", 10, {.heads = 3}),
                    "[multi_head_attention] the width must be a multiple of the heads but they are 10 and 3");
  const MultiHeadAttention t5(Params(set) / "t5", W,
                              {.heads = 2, .head_width = 8, .bias = false, .scale = 1, .names = {"q", "k", "v", "o"}});
  CHECK(set.find("t5.o.weight")->tensor.shape() == Shape{W, 16});
  CHECK(t5.scale == 1);
}

TEST_CASE("sequential, dropout, embedding") {
  ParameterSet set(2);
  const Params p(set);
  const Linear first(p / 0, 8, 16), second(p / 2, 16, 4);
  Random random{3, 0};
  Sequential net;
  net.add(first).add([](const Tensor& x) { return relu(x); }).add(Dropout{0.5, &random}).add(second);
  const Tensor x = normal({3, 8}, 1);
  const NoGrad no_grad;
  CHECK(largest_difference(net(x), second(first(x, Activation::relu))) < 1e-6);
  CHECK(random.offset == 0);
  {
    const Training training;
    CHECK(largest_difference(net(x), second(first(x, Activation::relu))) > 1e-3);
    CHECK(random.offset > 0);
  }
  const Embedding embedding(p / "e", 5, 3);
  const Tensor rows = embedding(Tensor::from<int64_t>(std::vector<int64_t>{4, 0}, {2}));
  CHECK(largest_difference(rows.leading(0, 1), embedding.weight.leading(4, 5)) == 0);
}

TEST_CASE("layer, rms and group norm use their eps and groups") {
  ParameterSet set(2);
  const Tensor zeros = Tensor::zeros({1, 4}), x = Tensor::full({1, 4}, 3);
  const NoGrad no_grad;
  CHECK(largest(LayerNorm(Params(set) / "a", 4)(x)) == 0);
  CHECK(RmsNorm(Params(set) / "b", 4, 16)(x).to_doubles()[0] == doctest::Approx(3 / 5.0));
  const GroupNorm group(Params(set) / "c", 2, 4, 3);
  CHECK(names(set).ends_with("c.weight c.bias "));
  // Each pair of channels is -1, 1 around its mean: variance 1, and 1 / sqrt(1 + 3).
  const Tensor y = group(Tensor::from<float>(std::vector<float>{1, 3, 11, 13}, {1, 1, 1, 4}));
  CHECK(largest_difference(y, Tensor::from<float>(std::vector<float>{-0.5, 0.5, -0.5, 0.5}, {1, 1, 1, 4})) < 1e-6);
}
