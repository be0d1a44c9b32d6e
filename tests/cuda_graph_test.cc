// A recorded forward pass or training step gives the bytes of the same work run kernel by kernel, on new inputs too.
#include "tensor/cuda_graph.h"

#include <doctest/doctest.h>

#include <optional>

#include "kernels/arithmetic.h"
#include "kernels/cast.h"
#include "kernels/cross_entropy.h"
#include "kernels/dropout.h"
#include "kernels/embedding.h"
#include "kernels/embracement.h"
#include "models/embracenet.h"
#include "nn/optimizers.h"
#include "tensor/autograd.h"
#include "tensor/philox.h"

using namespace weft;

namespace {

Tensor random_images(uint64_t seed, DType dtype) {
  Tensor t = Tensor::empty({2, 16, 16, 3});
  const PhiloxStream stream{seed, 0};
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = 2 * stream.uniform(i) - 1;
  return cast(t, dtype).to(Device::cuda);
}

}  // namespace

TEST_CASE("a recorded image tower") {
  ParameterSet parameters(1, DType::f32, Device::cuda);
  const ResNext tower(
      parameters,
      {.layers = {1, 1, 1, 1}, .planes = {8, 16, 32, 64}, .stem = 8, .groups = 4, .width_per_group = 16, .classes = 0});
  const NoGrad no_grad;
  for (DType dtype : {DType::f32, DType::bf16}) {
    CAPTURE(name_of(dtype));
    const Tensor images = random_images(2, dtype);
    const auto expected = tower.features(images).to_doubles();
    Tensor features;
    cuda::Graph graph([&] { features = tower.features(images); });
    graph.launch();
    CHECK(features.to_doubles() == expected);
    // Tensors that come and go meanwhile do not get the graph's memory.
    const Tensor other = random_images(3, dtype), kept = Tensor::full({1 << 12}, 7, DType::f32, Device::cuda);
    const auto expected_other = tower.features(other).to_doubles();
    images.copy_from(other);
    graph.launch();
    CHECK(features.to_doubles() == expected_other);
    CHECK(kept.to_doubles() == std::vector<double>(1 << 12, 7));
  }
}

namespace {

constexpr int64_t batch = 8, tokens = 12, classes = 5;

// What a step reads, on the host.
struct Inputs {
  Tensor ids, mask, images, labels, weights;
};

// Every step has other texts, whose padding is now more and now fewer than the 64 rows that one thread adds up.
Inputs inputs_of(uint64_t step, int64_t rows) {
  const PhiloxStream stream{99, step << 32};
  Inputs in{Tensor::zeros({rows, tokens}, DType::i64), Tensor::zeros({rows, tokens}, DType::boolean),
            Tensor::empty({rows, 16, 16, 3}), Tensor::empty({rows}, DType::i64), Tensor::empty({rows, 3})};
  uint64_t n = 0;
  for (int64_t b = 0; b < rows; ++b) {
    const auto length = static_cast<int64_t>(1 + stream.bits(n++) % (step % 2 ? 3 : 11));
    for (int64_t t = 0; t < length; ++t) {
      in.ids.data<int64_t>()[b * tokens + t] = 1 + stream.bits(n++) % 20;
      in.mask.data<bool>()[b * tokens + t] = true;
    }
    in.labels.data<int64_t>()[b] = stream.bits(n++) % classes;
    for (int k = 0; k < 3; ++k) in.weights.data<float>()[b * 3 + k] = k == 2 ? 0.0f : stream.uniform(n++) + 0.1f;
  }
  for (int64_t i = 0; i < in.images.numel(); ++i) in.images.data<float>()[i] = 2 * stream.uniform(n++) - 1;
  return in;
}

ClassifierConfig small_classifier() {
  ClassifierConfig c;
  c.text = {.vocab_size = 21, .d_model = 16, .d_kv = 8, .num_heads = 2, .d_ff = 32, .num_layers = 1};
  c.text.dropout_rate = 0.1;
  c.image = {
      .layers = {1, 1, 1, 1}, .planes = {8, 16, 32, 64}, .stem = 8, .groups = 4, .width_per_group = 16, .classes = 0};
  c.embracement = 24;
  c.max_tokens = tokens;
  c.pooling = TextPooling::mean;
  c.categories.assign(classes, "");
  c.label_sources = {"a"};
  return c;
}

struct Run {
  explicit Run(DType dtype) : dtype(dtype) {}

  ParameterSet parameters{1, DType::f32, Device::cuda};
  EmbraceNetClassifier model{parameters, small_classifier()};
  AdamW optimizer{parameters, {.weight_decay = 0.1}};
  Ema ema{parameters, 0.9, true};
  Random random{7};
  DType dtype;
  Tensor loss;
  std::optional<GradientNorm> norm;

  Tensor logits(const Inputs& in, Random* draws) const {
    const Tensor text = model.head.dock(text_modality, model.text_features(in.ids, in.mask, dtype, draws));
    const Tensor images = cast(in.images.to(Device::cuda), dtype);
    const Tensor image = model.head.dock(image_modality, model.image_encoder.features(images));
    return model.head(stack_modalities({text, image, Tensor()}), in.weights, draws);
  }
  void step(const Inputs& in, double learning_rate) {
    const Tensor value = cross_entropy(logits(in, &random), in.labels, {.label_smoothing = 0.1});
    backward(value);
    norm = clip_gradients(parameters, 0.5);
    optimizer.step(learning_rate);
    parameters.clear_gradients();
    ema.update();
    loss = value.detach();
  }
  std::vector<std::vector<double>> everything() const {
    std::vector<std::vector<double>> all{loss.to_doubles(), {norm->value()}, {static_cast<double>(random.offset)}};
    for (const auto& t : parameters.named_tensors()) all.push_back(t.tensor.to_doubles());
    for (const auto& t : optimizer.state()) all.push_back(t.tensor.to_doubles());
    for (const auto& t : ema.state()) all.push_back(t.tensor.to_doubles());
    return all;
  }
};

}  // namespace

TEST_CASE("recorded training steps are those run kernel by kernel, bit for bit") {
  for (DType dtype : {DType::f32, DType::bf16}) {
    CAPTURE(name_of(dtype));
    const Training training;
    Run eager(dtype), replayed(dtype);
    const auto rate = [](int step) { return 1e-3 * (step + 1); };
    Inputs in = inputs_of(0, batch);
    eager.step(in, rate(0));
    replayed.step(in, rate(0));
    cuda::Graph graph([&] { replayed.step(in, rate(1)); }, &replayed.random);
    for (int i = 1; i < 5; ++i) {
      CAPTURE(i);
      const Inputs now = inputs_of(i, batch);
      eager.step(now, rate(i));
      for (const auto& [place, value] : {std::pair{in.ids, now.ids},
                                         {in.mask, now.mask},
                                         {in.images, now.images},
                                         {in.labels, now.labels},
                                         {in.weights, now.weights}}) {
        place.copy_from(value);
      }
      replayed.optimizer.set_learning_rate(rate(i));
      graph.launch();
      CHECK(replayed.everything() == eager.everything());
    }
    CHECK(eager.norm->value() > 0.5);  // so that clipping was seen
    // What follows sees the parameters that the graph left, in training and out of it.
    const Inputs last = inputs_of(9, batch / 2);
    eager.step(last, rate(9));
    replayed.step(last, rate(9));
    CHECK(replayed.everything() == eager.everything());
    {
      const Training evaluating(false);
      const NoGrad no_grad;
      CHECK(replayed.logits(last, nullptr).to_doubles() == eager.logits(last, nullptr).to_doubles());
      graph.launch();
      const auto before = replayed.parameters.find("post.weight")->tensor.to_doubles();
      CHECK(replayed.logits(last, nullptr).to_doubles() != eager.logits(last, nullptr).to_doubles());
      CHECK(replayed.parameters.find("post.weight")->tensor.to_doubles() == before);
    }
    // A launch makes what evaluation keeps of the weights, their copies in bf16, stale.
    eager.step(inputs_of(4, batch), rate(9));
    for (const auto& t : eager.parameters.named_tensors()) t.tensor.mark_modified();
    const Training evaluating(false);
    const NoGrad no_grad;
    CHECK(replayed.logits(last, nullptr).to_doubles() == eager.logits(last, nullptr).to_doubles());
  }
}

TEST_CASE("what comes from the host is checked before each launch") {
  const Tensor weight = Tensor::full({4, 8}, 2, DType::f32, Device::cuda), ids = Tensor::zeros({3}, DType::i64);
  cuda::Graph graph([&] { embedding(weight, ids); });
  graph.launch();
  ids.fill(4);
  CHECK_THROWS_WITH(graph.launch(), "[embedding] every id must lie in [0, 4) but number 0 is 4");
  ids.fill(3);
  graph.launch();
}

TEST_CASE("what a graph cannot hold is refused, and the stream goes on") {
  const Tensor x = Tensor::full({4}, 2, DType::f32, Device::cuda);
  const char* message = "[cuda graph] what is recorded cannot copy between host and device; do it before or after";
  CHECK_THROWS_WITH(cuda::Graph([&] { x.to_doubles(); }), message);
  CHECK_THROWS_WITH(cuda::Graph([&] { x.copy_from(Tensor::zeros({4})); }), message);
  const Tensor host = Tensor::zeros({4});
  const char* computed =
      "[cuda graph] a host tensor that was computed while recording would stay what it was; make it before";
  CHECK_THROWS_WITH(cuda::Graph([&] { mul(host, 2).to(Device::cuda); }), computed);
  const Training training;
  Random random{1}, other{2};
  CHECK_THROWS_WITH(cuda::Graph([&] { dropout(x, 0.5, random); }, &other),
                    "[cuda graph] what is recorded draws from a generator that the graph was not given");
  CHECK(random.offset == 1);
  // Work that fails after drawing leaves the generator where it was.
  CHECK_THROWS_WITH(cuda::Graph([&] { dropout(x, 0.5, random).to_doubles(); }, &random), message);
  CHECK(random.offset == 1);
  CHECK(x.to_doubles() == std::vector<double>(4, 2));
}
