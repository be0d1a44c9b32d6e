// Tensor copies (cp.async.bulk.tensor, tile mode): boxes of 1 to 5 dimensions, out of bounds, steps, swizzles, both
// ways.
#include <doctest/doctest.h>

#include <string>

#include "tests/vgpu_async.h"
#include "vgpu/machine.h"
#include "vgpu/tensor_map.h"

using namespace vgpu_test;
using vgpu::TensorMap;

namespace {

struct Tensor {
  std::vector<uint32_t> size;  // elements, innermost first
  std::vector<uint32_t> box;
  std::vector<uint32_t> steps;  // empty: 1
  uint32_t element_bytes = 4, swizzle = 0;
  uint64_t row_bytes = 0;  // pitch of dimension 1; 0: no gap
};

// The map of a tensor at `address`.
TensorMap map_of(const Tensor& t, const void* address) {
  TensorMap m;
  m.magic = TensorMap::made_here;
  m.address = reinterpret_cast<uint64_t>(address);
  m.rank = static_cast<uint8_t>(t.size.size());
  m.element_bytes = static_cast<uint8_t>(t.element_bytes);
  m.swizzle_bytes = static_cast<uint8_t>(t.swizzle);
  uint64_t stride = t.row_bytes ? t.row_bytes : uint64_t{t.size[0]} * t.element_bytes;
  for (size_t i = 0; i < t.size.size(); i++) {
    m.last[i] = t.size[i] - 1;
    m.box[i] = static_cast<uint16_t>(t.box[i]);
    m.steps[i] = static_cast<uint8_t>(t.steps.empty() ? 1 : t.steps[i]);
    if (i > 0) {
      m.strides[i - 1] = stride;
      stride *= t.size[i];
    }
  }
  return m;
}

// Loads the box at these coordinates into shared memory; returns its words, not written ones as 0xdead0000 | word.
std::vector<uint32_t> load_box(const Tensor& t, const std::vector<int32_t>& at, const std::vector<uint32_t>& data) {
  const TensorMap probe = map_of(t, nullptr);
  std::string coordinates, load;
  for (size_t i = 0; i < at.size(); i++) {
    load += "ld.param.s32 %c" + std::to_string(i) + ", [at+" + std::to_string(4 * i) + "];\n";
    coordinates += (i ? ", %c" : "%c") + std::to_string(i);
  }
  const std::string text = R"(.version 9.0
.target sm_90
.address_size 64
.visible .entry k(.param .align 64 .b8 map[128], .param .align 4 .b8 at[20], .param .u64 out, .param .u32 words)
{
  .reg .pred %p; .reg .b32 %l, %w, %x, %v, %c<5>; .reg .b64 %m, %o, %i;
  .shared .align 1024 .b8 s[32768]; .shared .align 8 .b64 bar;
  ld.param.u64 %o, [out]; ld.param.u32 %w, [words]; mov.u32 %x, s;
  )" + load + R"(
  mbarrier.init.shared::cta.b64 [bar], 1; fence.mbarrier_init.release.cluster;
  mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], )" +
                           std::to_string(probe.bytes()) + R"(;
  mov.b64 %m, map; cvta.param.u64 %m, %m; prefetch.tensormap [%m];
  cp.async.bulk.prefetch.tensor.)" +
                           std::to_string(at.size()) + "d.L2.global.tile [%m, {" + coordinates + R"(}];
  cp.async.bulk.tensor.)" + std::to_string(at.size()) +
                           "d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%x], [%m, {" + coordinates +
                           R"(}], [bar];
W: mbarrier.try_wait.parity.shared::cta.b64 %p, [bar], 0; @!%p bra W;
  mov.u32 %l, 0;
L: ld.shared.u32 %v, [%x]; st.global.u32 [%o], %v; add.u32 %x, %x, 4; add.u64 %o, %o, 4; add.u32 %l, %l, 1;
  setp.lt.u32 %p, %l, %w; @%p bra L;
  ret;
})";
  vgpu::Options options;
  options.threads = 1;
  Gpu gpu(options);
  auto* in = gpu.upload(data);
  const uint32_t words = probe.bytes() / 4;
  auto* out = gpu.allocate<uint32_t>(words);
  struct Coordinates {
    int32_t c[5] = {};
  } c;
  std::copy(at.begin(), at.end(), c.c);
  gpu.launch(gpu.machine.load(text), "k", {1}, {1}, 0, map_of(t, in), c, out, words);
  return {out, out + words};
}

std::vector<uint32_t> iota(size_t n) {
  std::vector<uint32_t> v(n);
  for (size_t i = 0; i < n; i++) v[i] = static_cast<uint32_t>(i + 1);
  return v;
}

// What the box holds, element by element: the definition, for elements of 4 bytes without swizzle.
std::vector<uint32_t> expected(const Tensor& t, std::vector<int32_t> at, const std::vector<uint32_t>& data) {
  const size_t rank = t.size.size();
  std::vector<uint32_t> out, index(rank);
  const auto step = [&](size_t i) { return i == 0 || t.steps.empty() ? 1 : t.steps[i]; };
  for (;;) {
    int64_t place = 0, stride = 1;
    bool inside = true;
    for (size_t i = 0; i < rank; i++) {
      const int64_t x = int64_t{at[i]} + int64_t{index[i]};
      inside = inside && x >= 0 && x < t.size[i];
      place += x * stride;
      stride *= i == 0 && t.row_bytes ? static_cast<int64_t>(t.row_bytes / 4) : int64_t{t.size[i]};
    }
    out.push_back(inside ? data[static_cast<size_t>(place)] : 0);
    size_t i = 0;
    for (; i < rank; i++) {
      index[i] += step(i);
      if (index[i] < t.box[i]) break;
      index[i] = 0;
    }
    if (i == rank) return out;
  }
}

}  // namespace

TEST_CASE("boxes of 1 to 5 dimensions, inside and across every edge") {
  const std::vector<Tensor> tensors = {{{40}, {16}, {}},
                                       {{12, 9}, {8, 4}, {}},
                                       {{8, 5, 6}, {4, 3, 2}, {}},
                                       {{8, 3, 4, 5}, {4, 2, 3, 2}, {}},
                                       {{4, 3, 2, 3, 2}, {4, 2, 2, 2, 2}, {}},
                                       {{10, 9}, {8, 4}, {}, 4, 0, 64}};
  for (const Tensor& t : tensors) {
    size_t n = t.row_bytes ? t.row_bytes / 4 : t.size[0];
    for (size_t i = 1; i < t.size.size(); i++) n *= t.size[i];
    const std::vector<uint32_t> data = iota(n);
    for (const int32_t shift : {0, 1, -2, 3, 100, -100}) {
      std::vector<int32_t> at(t.size.size(), shift);
      CAPTURE(t.size.size());
      CAPTURE(shift);
      CHECK(load_box(t, at, data) == expected(t, at, data));
      at.back() = static_cast<int32_t>(t.size.back()) - 1;
      CHECK(load_box(t, at, data) == expected(t, at, data));
    }
  }
}

TEST_CASE("element steps take every n-th row") {
  const Tensor t{{8, 12}, {8, 7}, {1, 3}};
  const std::vector<uint32_t> data = iota(96);
  const auto got = load_box(t, {0, 2}, data);
  REQUIRE(got.size() == 24);  // ceil(7 / 3) rows: 2, 5, 8
  for (uint32_t r = 0; r < 3; r++)
    for (uint32_t c = 0; c < 8; c++) CHECK(got[r * 8 + c] == (2 + 3 * r) * 8 + c + 1);
  CHECK(load_box(t, {0, 8}, data) == expected(t, {0, 8}, data));
}

TEST_CASE("swizzles change the places of 16-byte chunks within a line") {
  // By hand: rows of 128 bytes change by the row's number, of 64 by half of it, of 32 by a quarter.
  for (const uint32_t bytes : {32u, 64u, 128u}) {
    const uint32_t words = bytes / 4, chunks = bytes / 16;
    const Tensor t{{words, 16}, {words, 16}, {}, 4, bytes};
    const auto got = load_box(t, {0, 0}, iota(16 * words));
    for (uint32_t r = 0; r < 16; r++)
      for (uint32_t c = 0; c < words; c++) {
        const uint32_t turn = r * bytes / 128 % 8 % chunks, place = (c / 4 ^ turn) * 4 + c % 4;
        CHECK(got[r * words + place] == r * words + c + 1);
      }
  }
}

TEST_CASE("a box goes back to global memory, but not what lies outside") {
  const std::string text = R"(.version 9.0
.target sm_90
.address_size 64
.visible .entry k(.param .align 64 .b8 map[128], .param .s32 x, .param .s32 y)
{
  .reg .pred %p; .reg .b32 %l, %s, %v, %x, %y; .reg .b64 %m;
  .shared .align 1024 .b8 s[1024];
  ld.param.s32 %x, [x]; ld.param.s32 %y, [y]; mov.u32 %s, s; mov.u32 %l, 0;
L: add.u32 %v, %l, 100; st.shared.u32 [%s], %v; add.u32 %s, %s, 4; add.u32 %l, %l, 1;
  setp.lt.u32 %p, %l, 128; @%p bra L;
  fence.proxy.async.shared::cta; mov.u32 %s, s;
  mov.b64 %m, map; cvta.param.u64 %m, %m;
  cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%m, {%x, %y}], [%s];
  cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
  ret;
})";
  const Tensor t{{40, 6}, {32, 4}, {}, 4, 128};
  for (const auto& [x, y] : {std::pair{0, 0}, {8, 2}, {-3, -1}, {20, 5}}) {
    Gpu gpu;
    auto* out = gpu.upload(std::vector<uint32_t>(240, 7));
    gpu.launch(gpu.machine.load(text), "k", {1}, {1}, 0, map_of(t, out), x, y);
    for (int r = 0; r < 6; r++)
      for (int c = 0; c < 40; c++) {
        const int i = r - y, j = c - x;
        const bool inside = i >= 0 && i < 4 && j >= 0 && j < 32;
        const uint32_t place = static_cast<uint32_t>(i * 32 + (j / 4 ^ i) * 4 + j % 4);
        CHECK(out[r * 40 + c] == (inside ? 100 + place : 7));
      }
  }
}

TEST_CASE("faults of tensor copies") {
  const std::vector<uint32_t> data = iota(96);
  const auto kind = [&](const Tensor& t, const std::vector<int32_t>& at) -> std::string {
    try {
      load_box(t, at, data);
    } catch (const vgpu::Fault& f) {
      return f.report.kind;
    }
    return "(none)";
  };
  CHECK(kind({{8, 12}, {8, 4}, {}}, {0, 0}) == "(none)");
  CHECK(kind({{8, 13}, {8, 4}, {}}, {0, 0}) == "(none)");
  CHECK(kind({{8, 13}, {8, 4}, {}}, {0, 9}) == "out of bounds");  // the map says more than the allocation has
  CHECK(kind({{8, 12}, {8, 4}, {}}, {0, 0, 0}) == "bulk copy");   // coordinates for another rank
}
