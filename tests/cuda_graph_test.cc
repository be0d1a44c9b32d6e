// A recorded forward pass gives the bytes of the same pass run kernel by kernel, on new inputs too.
#include "tensor/cuda_graph.h"

#include <doctest/doctest.h>

#include <optional>

#include "kernels/cast.h"
#include "models/resnext.h"
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

TEST_CASE("what a graph cannot hold is refused, and the stream goes on") {
  const Tensor x = Tensor::full({4}, 2, DType::f32, Device::cuda);
  const char* message = "[cuda graph] what is recorded cannot copy between host and device; do it before or after";
  CHECK_THROWS_WITH(cuda::Graph([&] { x.to_doubles(); }), message);
  CHECK_THROWS_WITH(cuda::Graph([&] { x.copy_from(Tensor::zeros({4})); }), message);
  CHECK(x.to_doubles() == std::vector<double>(4, 2));
}
