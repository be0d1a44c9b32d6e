// Runs the kernels of the cuda device at fixed shapes, forward and backward, for scripts/kernel_counts.py to count
// under the virtual GPU. Tile sizes and splits depend on the GPU's multiprocessors, so counts belong to one --gpu.
#include <CLI/CLI.hpp>
#include <functional>

#include "kernels/activation.h"
#include "kernels/arithmetic.h"
#include "kernels/attention.h"
#include "kernels/conv2d.h"
#include "kernels/cross_entropy.h"
#include "kernels/layer_norm.h"
#include "kernels/matmul.h"
#include "kernels/rms_norm.h"
#include "kernels/softmax.h"
#include "tensor/autograd.h"
#include "tensor/philox.h"

namespace {

using namespace weft;

// Values in [-1, 1], the same in every run.
Tensor leaf(const Shape& shape, DType dtype) {
  Random random{7};
  const PhiloxStream stream = random.reserve(shape.numel());
  std::vector<float> values(shape.numel());
  for (size_t i = 0; i < values.size(); ++i) values[i] = 2 * static_cast<float>(stream.uniform(i)) - 1;
  const Tensor host = Tensor::empty(shape, dtype);
  host.copy_from(Tensor::from(values, shape));
  Tensor x = host.to(Device::cuda);
  x.set_requires_grad();
  return x;
}

void forward_backward(const std::function<Tensor(const Tensors&)>& op, const std::vector<Shape>& shapes, DType dtype,
                      bool with_backward = true) {
  Tensors inputs;
  for (const Shape& shape : shapes) inputs.push_back(leaf(shape, dtype));
  const Tensor y = op(inputs);
  if (!with_backward) return;
  Tensor dy = Tensor::empty(y.shape(), y.dtype(), Device::cuda);
  dy.fill(0.5);
  backward(y, dy);
}

void products(DType dtype) {
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      const auto run = [=](const Tensors& t) { return matmul(t[0], t[1], {}, {ta, tb}); };
      forward_backward(run, {ta ? Shape{320, 256} : Shape{256, 320}, tb ? Shape{192, 320} : Shape{320, 192}}, dtype,
                       false);
    }
  }
  const auto plain = [](const Tensors& t) { return linear(t[0], t[1]); };
  const auto gelu = [](const Tensors& t) { return linear(t[0], t[1], t[2], Activation::gelu); };
  forward_backward(plain, {{1536, 128}, {1536, 128}}, dtype, false);  // large tiles
  forward_backward(gelu, {{256, 128}, {256, 128}, {256}}, dtype);
  forward_backward(plain, {{1, 1024}, {512, 1024}}, dtype, false);  // one row
}

void convolutions(DType dtype) {
  const auto conv = [](int stride, int padding, int groups) {
    return [=](const Tensors& t) { return conv2d(t[0], t[1], {}, {stride, padding, groups}); };
  };
  forward_backward(conv(1, 1, 1), {{2, 16, 16, 64}, {64, 64, 3, 3}}, dtype);
  forward_backward(conv(2, 1, 1), {{2, 16, 16, 64}, {64, 64, 3, 3}}, dtype);
  forward_backward(conv(2, 3, 1), {{1, 32, 32, 3}, {64, 3, 7, 7}}, dtype);
  for (const int64_t group : {4, 8, 16}) {
    for (const int stride : {1, 2})
      forward_backward(conv(stride, 1, 32), {{2, 16, 16, 32 * group}, {32 * group, group, 3, 3}}, dtype);
  }
}

void attentions(DType dtype) {
  for (const int64_t width : {32, 64, 128}) {
    const Shape shape{2, 128, 2, width};
    forward_backward(
        [=](const Tensors& t) {
          AttentionOptions options;
          options.scale = 1 / std::sqrt(static_cast<double>(width));
          options.bias = t[3];
          return attention(t[0], t[1], t[2], options);
        },
        {shape, shape, shape, {2, 128, 128}}, dtype);
  }
}

// Bound by memory: rows of 768, as the models have.
void rows(DType dtype) {
  const Shape x{512, 768};
  forward_backward([](const Tensors& t) { return softmax(t[0]); }, {x}, dtype);
  forward_backward([](const Tensors& t) { return gelu(t[0]); }, {x}, dtype);
  forward_backward([](const Tensors& t) { return relu(t[0]); }, {x}, dtype);
  forward_backward([](const Tensors& t) { return add(t[0], t[1]); }, {x, x}, dtype);
  const auto parameter = [](const Tensor& like) { return Tensor::full({like.cols()}, 1, DType::f32).to(Device::cuda); };
  forward_backward([&](const Tensors& t) { return rms_norm(t[0], parameter(t[0])); }, {x}, dtype);
  forward_backward([&](const Tensors& t) { return layer_norm(t[0], parameter(t[0]), parameter(t[0])); }, {x}, dtype);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Runs the kernels of the cuda device for scripts/kernel_counts.py."};
  std::string only;
  app.add_option("room", only, "products, convolutions, attentions or rows: this group only");
  CLI11_PARSE(app, argc, argv);
  try {
    const std::pair<const char*, void (*)(DType)> groups[] = {
        {"products", products}, {"convolutions", convolutions}, {"attentions", attentions}, {"rows", rows}};
    for (const auto& [name, run] : groups) {
      if (!only.empty() && only != name) continue;
      for (const DType dtype : {DType::f32, DType::bf16}) run(dtype);
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
}
