// The layout that a UNet draws of a text at its lowest level, and the sketch that teaches it.
#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "models/cascade.h"
#include "tests/imagen_golden.h"

using namespace weft;

namespace {

struct Model {
  ParameterSet set{11};
  Cascade cascade{Params(set), layout_cascade()};
};

Tensor parameter(const ParameterSet& set, const std::string& name) {
  for (const Parameter& p : set.trainable()) {
    if (p.name == name) return p.tensor;
  }
  throw std::runtime_error("there is no " + name);
}

}  // namespace

TEST_CASE("a sketch puts square (i, j) of the layout at the pixels 2i, 2j and on") {
  const Model model;
  const ImagenGolden golden;
  const NoGrad no_grad;
  const Unet& net = *model.cascade.unets[0];
  const UnetText text = net.text(golden.text().embeddings, golden.text().mask, kept(true));
  const Tensor sketch = net.sketch(text);
  const Tensor w = net.layout_sketch->weight, b = net.layout_sketch->bias;
  REQUIRE(sketch.shape() == Shape{2, 16, 16, 3});
  REQUIRE(text.layout.shape() == Shape{2, 8, 8, 5});
  REQUIRE(w.shape() == Shape{12, 5});
  double worst = 0;
  for (int64_t n = 0; n < 2; ++n) {
    for (int64_t y = 0; y < 16; ++y) {
      for (int64_t x = 0; x < 16; ++x) {
        for (int64_t c = 0; c < 3; ++c) {
          const int64_t row = ((y % 2) * 2 + x % 2) * 3 + c;
          double truth = b.data<float>()[row];
          for (int64_t k = 0; k < 5; ++k) {
            truth += static_cast<double>(w.data<float>()[row * 5 + k]) *
                     text.layout.data<float>()[((n * 8 + y / 2) * 8 + x / 2) * 5 + k];
          }
          worst = std::max(worst, std::abs(truth - sketch.data<float>()[((n * 16 + y) * 16 + x) * 3 + c]));
        }
      }
    }
  }
  CHECK(worst < 1e-5);
}

TEST_CASE("the layout reaches the picture and the sketch, with the gradients of central differences") {
  const Model model;
  const ImagenGolden golden;
  const Tensor images = golden.image("train.images");
  const TrainingDraws draws = recorded_draws(golden, 0);
  const Tensor small = resize_square(images, 16, Compat::fixed);
  const auto loss = [&](bool of_sketch) {
    return of_sketch ? model.cascade.sketch_loss(small, golden.text())
                     : model.cascade.loss(0, images, golden.text(), draws);
  };
  for (const bool of_sketch : {false, true}) {
    {
      const Training training;
      backward(loss(of_sketch));
    }
    const char* last = of_sketch ? "unets.0.text_layout.3.bias" : "unets.0.text_layout.2.weight";
    for (const std::string name : {"unets.0.text_layout.0.weight", "unets.0.text_layout.1.weight",
                                   "unets.0.text_layout.4.weight", last}) {
      CAPTURE(name);
      const Tensor w = parameter(model.set, name), gradient = w.grad();
      REQUIRE(gradient.defined());
      // Along the gradient itself the slope is its squared length.
      double squares = 0;
      for (int64_t i = 0; i < w.numel(); ++i) squares += std::pow(gradient.data<float>()[i], 2);
      REQUIRE(squares > 0);
      const double step = 0.02 / std::sqrt(squares);
      const NoGrad no_grad;
      const Tensor before = w.detach().clone();
      const auto moved = [&](double by) {
        for (int64_t i = 0; i < w.numel(); ++i) {
          w.detach().data<float>()[i] = before.data<float>()[i] + static_cast<float>(by * gradient.data<float>()[i]);
        }
        w.mark_modified();
        return static_cast<double>(loss(of_sketch).item());
      };
      const double slope = (moved(step) - moved(-step)) / (2 * step);
      moved(0);
      CHECK(slope == doctest::Approx(squares).epsilon(0.02));
    }
    model.set.clear_gradients();
  }
}

TEST_CASE("a layout ties a UNet to one size") {
  CascadeConfig c = layout_cascade();
  CHECK(CascadeConfig::from_json(c.to_json(), "c.json").unets[0].layout_size == 8);
  c.image_sizes[0] = 32;
  CHECK_THROWS_WITH(CascadeConfig::from_json(c.to_json(), "c.json"),
                    "c.json: image_sizes[0] must be 16, layout_size times 2, but is 32");
  const Model model;
  const ImagenGolden golden;
  const NoGrad no_grad;
  const Unet& net = *model.cascade.unets[0];
  const UnetText text = net.text(golden.text().embeddings, golden.text().mask, kept(true));
  CHECK_THROWS(net(Tensor::zeros({2, 32, 32, 3}), Tensor::zeros({2}), text));
}
