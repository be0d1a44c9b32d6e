// Resizing against torch.nn.functional.interpolate and its gradient (tests/golden/make_interpolate.py).
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/resize.h"
#include "tensor/autograd.h"

using namespace weft;

TEST_CASE("resize gives torch's values and gradients") {
  std::ifstream file(WEFT_TESTS "/golden/interpolate.json");
  const auto golden = nlohmann::json::parse(file);
  REQUIRE(golden["cases"].size() == 15);
  for (const auto& one : golden["cases"]) {
    const std::string mode = one["mode"];
    const bool antialias = one["antialias"];
    const int64_t h = one["from"][0], w = one["from"][1], oh = one["to"][0], ow = one["to"][1];
    CAPTURE(mode);
    CAPTURE(antialias);
    CAPTURE(h);
    Tensor x = Tensor::from(one["x"].get<std::vector<double>>(), {1, h, w, 2});
    x.set_requires_grad();
    const Tensor y = mode == "bilinear" ? resize_bilinear(x, oh, ow, antialias) : resize_nearest(x, oh, ow);
    backward(y, Tensor::from(one["dy"].get<std::vector<double>>(), {1, oh, ow, 2}));
    const auto compare = [](const Tensor& got, const std::vector<double>& want) {
      const std::vector<double> values = got.to_doubles();
      REQUIRE(values.size() == want.size());
      for (size_t i = 0; i < want.size(); ++i) REQUIRE(values[i] == doctest::Approx(want[i]).epsilon(1e-8).scale(100));
    };
    compare(y, one["y"]);
    compare(x.grad(), one["dx"]);
  }
}
