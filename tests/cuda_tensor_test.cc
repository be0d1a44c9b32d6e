// Tensors and the tape on the cuda device, against the cpu. Runs on a GPU or, under ctest, on the virtual one.
#include "tensor/tensor.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "kernels/arithmetic.h"
#include "tensor/autograd.h"
#include "tensor/cuda.h"
#include "tensor/dispatch.h"
#include "tests/cuda_values.h"

using namespace weft;

namespace {

using Values = std::vector<double>;
constexpr DType all_dtypes[] = {DType::f32, DType::bf16, DType::f16, DType::f64,
                                DType::i32, DType::i64,  DType::u8,  DType::boolean};

}  // namespace

TEST_CASE("the device says what it is") {
  CHECK(device_from_name("cuda") == Device::cuda);
  CHECK(!cuda::properties().name.empty());
  CHECK(cuda::properties().multiprocessors > 0);
}

TEST_CASE("values travel to the device and back in every dtype") {
  for (DType dtype : all_dtypes) {
    CAPTURE(name_of(dtype));
    Tensor t = Tensor::empty({5}, dtype);
    t.copy_from(Tensor::from(Values{0, 1, 1, 0, 1}, {5}));
    const Tensor there = t.to(Device::cuda);
    CHECK(there.device() == Device::cuda);
    CHECK(there.to_doubles() == t.to_doubles());
    CHECK(there.to(Device::cpu).to_doubles() == t.to_doubles());
    CHECK(Tensor::zeros({3}, dtype, Device::cuda).to_doubles() == Values{0, 0, 0});
    CHECK(Tensor::full({2}, 1, dtype, Device::cuda).to_doubles() == Values{1, 1});
    CHECK(Tensor::full({}, 1, dtype, Device::cuda).item() == 1);
  }
  CHECK(Tensor::zeros({0, 3}).to(Device::cuda).to_doubles().empty());
}

TEST_CASE("a copy longer than the staging buffers arrives whole") {
  Tensor t = Tensor::empty({(9 << 20) + 3}, DType::u8);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<uint8_t>()[i] = static_cast<uint8_t>(i * 31 + (i >> 8));
  const Tensor back = t.to(Device::cuda).to(Device::cpu);
  CHECK(std::equal(t.data<uint8_t>(), t.data<uint8_t>() + t.numel(), back.data<uint8_t>()));
}

TEST_CASE("every dtype becomes every other as on the cpu") {
  const Values values{0, 1, 3, 100.7, 0.30000001192092896, 200};
  for (DType from : all_dtypes) {
    for (DType to : all_dtypes) {
      CAPTURE(name_of(from));
      CAPTURE(name_of(to));
      Tensor x = Tensor::empty({6}, from), y = Tensor::empty({6}, to), there = Tensor::empty({6}, to, Device::cuda);
      x.copy_from(Tensor::from(values, {6}));
      y.copy_from(x);
      there.copy_from(x.to(Device::cuda));
      CHECK(there.to_doubles() == y.to_doubles());
      there.fill(0);
      there.copy_from(x);
      CHECK(there.to_doubles() == y.to_doubles());
    }
  }
  const float odd[] = {std::numeric_limits<float>::quiet_NaN(), INFINITY, -INFINITY, 1.0f + 0x1p-8f, 1.0f + 0x3p-8f};
  Tensor half = Tensor::empty({5}, DType::bf16, Device::cuda);
  half.copy_from(Tensor::from(std::span<const float>(odd), {5}));
  const Values rounded = half.to_doubles();
  CHECK(std::isnan(rounded[0]));
  CHECK(Values(rounded.begin() + 1, rounded.end()) == Values{INFINITY, -INFINITY, 1, 1 + 0x1p-6});
}

TEST_CASE("views share storage on the device, clones do not") {
  const Tensor t = Tensor::from(Values{1, 2, 3, 4, 5, 6}, {3, 2}).to(Device::cuda), row = t.leading(1, 2),
               copy = t.clone();
  row.fill(0);
  CHECK(t.to_doubles() == Values{1, 2, 0, 0, 5, 6});
  CHECK(copy.to_doubles() == Values{1, 2, 3, 4, 5, 6});
  copy.leading(2, 3).copy_from(t.leading(0, 1));
  CHECK(copy.reshape({-1}).to_doubles() == Values{1, 2, 3, 4, 1, 2});
}

TEST_CASE("the host cannot read the device's memory by mistake") {
  CHECK_THROWS_WITH(Tensor::zeros({2}, DType::f32, Device::cuda).data<float>(),
                    "[data] the host cannot follow a pointer of device cuda");
  const Tensor x = Tensor::zeros({2}), there = x.to(Device::cuda);
  CHECK_THROWS_WITH(add(x, there), "[add] the devices must be equal but are cpu and cuda");
  CHECK_THROWS_WITH(accumulate(x, there), "[accumulate] the devices must be equal but are cpu and cuda");
  const Tensor doubles = Tensor::zeros({2}, DType::f64, Device::cuda);
  CHECK_THROWS_WITH(add(doubles, doubles), "[add] the dtype must be f32 or bf16 on device cuda but is f64");
}

TEST_CASE("memory is counted, reused and given back") {
  release_cached_memory(Device::cuda);
  const MemoryStats before = memory_stats(Device::cuda);
  reset_peak_memory(Device::cuda);
  {
    const Tensor a = Tensor::empty({1000}, DType::f32, Device::cuda),
                 b = Tensor::empty({3000}, DType::f32, Device::cuda);
    CHECK(memory_stats(Device::cuda).live_bytes >= before.live_bytes + 16000);
  }
  const MemoryStats after = memory_stats(Device::cuda);
  CHECK(after.live_bytes == before.live_bytes);
  CHECK(after.peak_bytes >= before.live_bytes + 16000);
  release_cached_memory(Device::cuda);
  CHECK(memory_stats(Device::cuda).cached_bytes == 0);
  CHECK_THROWS_WITH_AS(Tensor::empty({int64_t{1} << 50}, DType::u8, Device::cuda),
                       doctest::Contains("cuda: out of memory: 1125899906842624 bytes were asked for"),
                       std::runtime_error);
}

TEST_CASE("gradients add up on the device, and go to where a tensor came from") {
  for (DType dtype : {DType::f32, DType::bf16}) {
    Tensor x = Tensor::full({3, 33}, 1, dtype, Device::cuda);
    x.set_requires_grad();
    backward(add(mul(x, 2), add(x, mul(x, 4))), Tensor::full({3, 33}, 1, dtype, Device::cuda));
    CHECK(x.grad().device() == Device::cuda);
    CHECK(x.grad().to_doubles() == Values(99, 7));
  }
  Tensor here = Tensor::full({4}, 3);
  here.set_requires_grad();
  backward(mul(here.to(Device::cuda), 5), Tensor::full({4}, 1, DType::f32, Device::cuda));
  CHECK(here.grad().device() == Device::cpu);
  CHECK(here.grad().to_doubles() == Values(4, 5));
  const Tensor a = random_tensor({1003}, 1), half = Tensor::full({1003}, 0.5, DType::bf16);
  Tensor sum = a.to(Device::cuda).clone();
  accumulate(sum, half.to(Device::cuda));
  CHECK(difference(sum, add(a, 0.5)) == 0);
}

TEST_CASE("what broadcasting repeated is summed over every pattern of axes") {
  const Shape whole{3, 4, 5, 33};
  const Tensor dy = random_tensor(whole, 2);
  for (int mask = 0; mask < 16; ++mask) {
    CAPTURE(mask);
    Shape part = whole;
    for (int axis = 0; axis < 4; ++axis) part[axis] = mask >> axis & 1 ? 1 : whole[axis];
    CHECK(difference(unbroadcast(dy.to(Device::cuda), part), unbroadcast(dy, part)) < 1e-6);
  }
  // Long enough to be summed in pieces, along rows, down columns, and altogether.
  const Tensor tall = random_tensor({20000, 3}, 3), wide = random_tensor({3, 20000}, 4);
  CHECK(difference(unbroadcast(tall.to(Device::cuda), {3}), unbroadcast(tall, {3})) < 1e-5);
  CHECK(difference(unbroadcast(wide.to(Device::cuda), {3, 1}), unbroadcast(wide, {3, 1})) < 1e-5);
  CHECK(difference(unbroadcast(wide.to(Device::cuda), {1}), unbroadcast(wide, {1})) < 1e-5);
  CHECK(unbroadcast(Tensor::zeros({0, 5}, DType::f32, Device::cuda), {1, 5}).to_doubles() == Values(5, 0));
}

TEST_CASE("events measure the stream's time") {
  cuda::Event begin, end;
  begin.record();
  const Tensor x = Tensor::full({1 << 16}, 2, DType::f32, Device::cuda);
  end.record();
  CHECK(end.milliseconds_since(begin) >= 0);
  cuda::synchronize();
}
