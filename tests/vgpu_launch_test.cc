// Whole kernels on the virtual GPU: control flow, barriers, calls, printf, determinism.
#include "vgpu/machine.h"

#include <doctest/doctest.h>

#include <numeric>

#include "tests/vgpu_fixture.h"

using namespace vgpu_test;

namespace {

const char* saxpy = R"(
.visible .entry saxpy(.param .u32 n, .param .f32 a, .param .u64 x, .param .u64 y)
{
  .reg .pred %p<2>; .reg .f32 %f<5>; .reg .b32 %r<6>; .reg .b64 %rd<8>;
  ld.param.u32 %r2, [n];
  ld.param.f32 %f1, [a];
  ld.param.u64 %rd1, [x];
  ld.param.u64 %rd2, [y];
  mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x; mov.u32 %r5, %tid.x;
  mad.lo.s32 %r1, %r3, %r4, %r5;
  setp.ge.s32 %p1, %r1, %r2;
  @%p1 bra $L__BB0_2;
  cvta.to.global.u64 %rd3, %rd2;
  cvta.to.global.u64 %rd4, %rd1;
  mul.wide.s32 %rd5, %r1, 4;
  add.s64 %rd6, %rd4, %rd5;
  ld.global.f32 %f2, [%rd6];
  add.s64 %rd7, %rd3, %rd5;
  ld.global.f32 %f3, [%rd7];
  fma.rn.f32 %f4, %f2, %f1, %f3;
  st.global.f32 [%rd7], %f4;
$L__BB0_2:
  ret;
})";

// Thread t of a block adds up what thread t + 1 wrote to shared memory, with a barrier between.
const char* neighbour = R"(
.visible .entry neighbour(.param .u64 out)
{
  .reg .b32 %r<6>; .reg .b64 %rd<4>;
  .shared .align 4 .b8 s[512];
  ld.param.u64 %rd1, [out];
  mov.u32 %r1, %tid.x;
  mov.u32 %r2, s;
  shl.b32 %r3, %r1, 2;
  add.s32 %r4, %r2, %r3;
  st.shared.u32 [%r4], %r1;
  bar.sync 0;
  xor.b32 %r3, %r3, 128;
  add.s32 %r4, %r2, %r3;
  ld.shared.u32 %r5, [%r4];
  mul.wide.u32 %rd2, %r1, 4;
  add.s64 %rd3, %rd1, %rd2;
  st.global.u32 [%rd3], %r5;
  ret;
})";

}  // namespace

TEST_CASE("saxpy over a ragged grid, on any number of cores and in any order") {
  for (const int threads : {1, 2})
    for (const uint64_t seed : {0, 7}) {
      vgpu::Options options;
      options.threads = threads;
      options.schedule = seed;
      Gpu gpu(options);
      std::vector<float> x(1000), y(1000, 1.f);
      std::iota(x.begin(), x.end(), 0.f);
      float *dx = gpu.upload(x), *dy = gpu.upload(y);
      auto& module = gpu.machine.load(std::string(ptx_header) + saxpy);
      gpu.launch(module, "saxpy", {4}, {256}, 0, 1000, 2.f, dx, dy);
      for (int i = 0; i < 1000; i++) CHECK(dy[i] == 2.f * static_cast<float>(i) + 1.f);
      const auto counts = gpu.machine.counts();
      REQUIRE(counts.size() == 1);
      CHECK(counts[0].total.flop_fma == 2000);
      CHECK(counts[0].total.global_sectors == 375);
      CHECK(counts[0].unique_read_bytes == 8000);
    }
}

TEST_CASE("shared memory across warps") {
  Gpu gpu;
  uint32_t* out = gpu.allocate<uint32_t>(128);
  auto& module = gpu.machine.load(std::string(ptx_header) + neighbour);
  gpu.launch(module, "neighbour", {1}, {128}, 0, out);
  for (uint32_t i = 0; i < 128; i++) CHECK(out[i] == (i ^ 32));
}

TEST_CASE("the same without its barrier is a data race, with both sides") {
  std::string text = std::string(ptx_header) + neighbour;
  text.erase(text.find("bar.sync 0;"), 11);
  Gpu gpu;
  uint32_t* out = gpu.allocate<uint32_t>(128);
  auto& module = gpu.machine.load(text);
  std::string kind, report;
  try {
    gpu.launch(module, "neighbour", {1}, {128}, 0, out);
  } catch (const vgpu::Fault& f) {
    kind = f.report.kind;
    report = f.report.text;
  }
  // The first warp reads what the second has not written yet.
  CHECK(kind == "uninitialised read");
  vgpu::Options options;
  options.checks = vgpu::check_race;
  Gpu racing(options);
  out = racing.allocate<uint32_t>(128);
  try {
    racing.launch(racing.machine.load(text), "neighbour", {1}, {128}, 0, out);
  } catch (const vgpu::Fault& f) {
    kind = f.report.kind;
    report = f.report.text;
  }
  CHECK(kind == "data race");
  CHECK(report.find("write after read") != report.npos);
  CHECK(report.find("st.shared.u32") != report.npos);
  CHECK(report.find("ld.shared.u32") != report.npos);
}
