#include "tensor/tensor.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/dispatch.h"

using namespace weft;

using Values = std::vector<double>;

TEST_CASE("shapes") {
  const Shape s{2, 3, 4};
  CHECK(s.numel() == 24);
  CHECK(s[-1] == 4);
  CHECK(s.product(1, 3) == 12);
  CHECK(Shape{}.numel() == 1);
  CHECK(!(s == Shape{2, 3}));
  CHECK(fmt::format("{} {}", s, Shape{}) == "[2, 3, 4] []");
  CHECK_THROWS_WITH(s[3], "[shape] the axis must lie in [-3, 3) but is 3 for shape [2, 3, 4]");
  CHECK_THROWS_WITH(s[-4], "[shape] the axis must lie in [-3, 3) but is -4 for shape [2, 3, 4]");
  CHECK_THROWS_WITH(Shape({1, 1, 1, 1, 1, 1, 1}), "[shape] at most 6 axes are supported but 7 were given");
}

TEST_CASE("values go in and come out in every dtype") {
  for (DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64, DType::i32, DType::i64, DType::u8}) {
    const Tensor t = Tensor::full({2, 2}, 3, dtype);
    CHECK(t.to_doubles() == Values{3, 3, 3, 3});
    CHECK(t.nbytes() == 4 * size_of(dtype));
    CHECK(dtype_from_name(name_of(dtype)) == dtype);
    CHECK(Tensor::zeros({3}, dtype).to_doubles() == Values{0, 0, 0});
  }
  CHECK(Tensor::full({2}, 3, DType::boolean).to_doubles() == Values{1, 1});
  CHECK(Tensor::full({}, 2.5).item() == 2.5);
}

TEST_CASE("bf16 rounds to nearest even and keeps infinities and NaN") {
  CHECK(float(bf16(1.0f + 0x1p-8f)) == 1.0f);            // a tie goes to the even neighbour
  CHECK(float(bf16(1.0f + 0x3p-8f)) == 1.0f + 0x1p-6f);  // the other tie too
  CHECK(float(bf16(1.0f + 0x1.02p-8f)) == 1.0f + 0x1p-7f);
  CHECK(float(bf16(std::numeric_limits<float>::max())) == std::numeric_limits<float>::infinity());
  CHECK(float(bf16(-std::numeric_limits<float>::infinity())) == -std::numeric_limits<float>::infinity());
  CHECK(std::isnan(float(bf16(std::numeric_limits<float>::quiet_NaN()))));
  CHECK(std::isnan(float(bf16(std::bit_cast<float>(0x7f800001u)))));  // its upper half alone would be infinity
  CHECK(float(bf16(0x1p-133f)) == 0x1p-133f);                         // the least subnormal
}

TEST_CASE("views share storage, clones do not") {
  const Tensor t = Tensor::from(Values{1, 2, 3, 4, 5, 6}, {3, 2});
  const Tensor row = t.leading(1, 2), flat = t.reshape({-1}), copy = t.clone();
  CHECK(row.byte_offset() == 16);
  row.fill(0);
  CHECK(t.to_doubles() == Values{1, 2, 0, 0, 5, 6});
  CHECK(flat.to_doubles() == Values{1, 2, 0, 0, 5, 6});
  CHECK(copy.to_doubles() == Values{1, 2, 3, 4, 5, 6});
  CHECK(t.rows() == 3);
  CHECK(t.cols() == 2);
  CHECK(Tensor::zeros({}).rows() == 1);
  CHECK(Tensor::zeros({0, 4}).reshape({4, -1}).shape() == Shape{4, 0});
}

TEST_CASE("a view of somebody's bytes keeps the owner alive") {
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3});
  const std::weak_ptr<std::vector<float>> watch = owner;
  Tensor t = Tensor::view_of(owner->data(), {3}, DType::f32, owner);
  owner.reset();
  CHECK(t.to_doubles() == Values{1, 2, 3});
  t = Tensor();
  CHECK(watch.expired());
}

TEST_CASE("storage ids are never reused, versions count changes in place") {
  uint64_t before = 0;
  for (int i = 0; i < 3; ++i) {
    const Tensor t = Tensor::zeros({100});
    CHECK(t.storage()->id > before);
    before = t.storage()->id;
    const uint64_t version = t.storage()->version;
    t.fill(1);
    t.copy_from(Tensor::zeros({100}, DType::i32));
    t.mark_modified();
    CHECK(t.storage()->version == version + 3);
    CHECK(t.reshape({10, 10}).storage()->id == t.storage()->id);
  }
}

TEST_CASE("misuse says what must hold") {
  CHECK_THROWS_WITH(Tensor::from(Values{1, 2}, {3}), "[from] shape [3] needs 3 values but 2 were given");
  CHECK_THROWS_WITH(Tensor::zeros({2}).data<double>(), "[data] the dtype must be f64 but is f32");
  CHECK_THROWS_WITH(Tensor::zeros({2}).item(), "[item] the tensor must have 1 element but has shape [2]");
  CHECK_THROWS_WITH(Tensor().item(), "[item] the tensor is undefined");
  CHECK_THROWS_WITH(Tensor().to_doubles(), "[to_doubles] the tensor is undefined");
  CHECK_THROWS_WITH(Tensor::zeros({2}).copy_from(Tensor::zeros({3})),
                    "[copy_from] the shapes must be equal but are [2] and [3]");
  CHECK_THROWS_WITH(Tensor::zeros({6}).reshape({4, -1}),
                    "[reshape] the shapes must have equally many elements but are [6] and [4, -1]");
  CHECK_THROWS_WITH(Tensor::zeros({6}).reshape({-1, -1}), "[reshape] one extent may be -1 but the shape is [-1, -1]");
  CHECK_THROWS_WITH(Tensor::zeros({6}).leading(2, 7),
                    "[leading] 0 <= begin <= end <= extent must hold but begin is 2, end is 7 and the shape is [6]");
  CHECK_THROWS_WITH(Tensor::empty({-1}), "[tensor] every extent must be at least 0 but the shape is [-1]");
  CHECK_THROWS_WITH(Tensor::empty({int64_t{1} << 40, int64_t{1} << 40}),
                    "[tensor] shape [1099511627776, 1099511627776] has more bytes than can be counted");
  CHECK_THROWS_WITH(dtype_from_name("f8"),
                    "[dtype] the name must be one of f32 bf16 f16 f64 i32 i64 u8 bool but is 'f8'");
  CHECK_THROWS_WITH(device_from_name("tpu"), "[device] the name must be cpu or cuda but is 'tpu'");
  CHECK_THROWS_AS(Tensor::empty({int64_t{1} << 58}), std::runtime_error);  // more than any machine has
}

TEST_CASE("the allocator counts what lives and what it keeps") {
  release_cached_memory(Device::cpu);
  reset_peak_memory(Device::cpu);
  const MemoryStats before = memory_stats(Device::cpu);
  CHECK(before.cached_bytes == 0);
  CHECK(before.peak_bytes == before.live_bytes);
  const int64_t mib = 1 << 20;
  {
    const Tensor t = Tensor::empty({mib}, DType::u8);
    CHECK(memory_stats(Device::cpu).live_bytes == before.live_bytes + mib);
    CHECK(reinterpret_cast<uintptr_t>(t.raw()) % 64 == 0);
  }
  MemoryStats after = memory_stats(Device::cpu);
  CHECK(after.live_bytes == before.live_bytes);
  CHECK(after.peak_bytes == before.live_bytes + mib);
  CHECK(after.cached_bytes == mib);
  {
    const Tensor again = Tensor::empty({mib - 100}, DType::u8);  // the same size class: the block is used again
    after = memory_stats(Device::cpu);
    CHECK(after.cached_bytes == 0);
    CHECK(after.live_bytes == before.live_bytes + mib);
  }
  release_cached_memory(Device::cpu);
  CHECK(memory_stats(Device::cpu).cached_bytes == 0);
}

TEST_CASE("the allocator gives back first what was not asked for the longest") {
  release_cached_memory(Device::cpu);
  const int64_t mib = 1 << 20;
  const Tensor large = Tensor::empty({16 * mib}, DType::u8);
  reset_peak_memory(Device::cpu);
  CHECK(reinterpret_cast<uintptr_t>(large.raw()) % (2 * mib) == 0);  // huge pages from the first byte on
  const void* const used_again = [&] { return Tensor::empty({mib}, DType::u8).raw(); }();
  // Other sizes come and go, more than may be kept.
  int64_t kept = 0;
  for (int64_t i = 1; i < 8; ++i) {
    CHECK(Tensor::empty({mib}, DType::u8).raw() == used_again);
    Tensor::empty({mib + i * mib / 8}, DType::u8);
    const MemoryStats stats = memory_stats(Device::cpu);
    CHECK(stats.cached_bytes >= std::min(kept, 5 * mib / 2));  // not everything was given back
    CHECK(stats.live_bytes + stats.cached_bytes <= stats.peak_bytes + stats.peak_bytes / 4);
    kept = stats.cached_bytes;
  }
}

TEST_CASE("what the allocator keeps is bounded") {
  release_cached_memory(Device::cpu);
  reset_peak_memory(Device::cpu);
  // Every size is new, so nothing kept can be used again.
  for (int64_t i = 0; i < 200; ++i) {
    Tensor::empty({(64 + i * 8) << 10}, DType::u8);
    const MemoryStats stats = memory_stats(Device::cpu);
    CHECK(stats.live_bytes + stats.cached_bytes <= stats.peak_bytes + stats.peak_bytes / 4);
  }
}
