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

namespace {

struct Caught {
  std::string kind, text;
};

// Launches one block of `threads` of a kernel whose body has %t = threadIdx.x, %b = blockIdx.x, %o = its word of an
// array of 64 words per block, %s = its word of shared memory.
Caught catch_fault(const std::string& body, uint32_t threads = 64, uint32_t blocks = 1, vgpu::Options options = {},
                   std::vector<vgpu::Report>* warnings = nullptr, std::vector<uint32_t>* result = nullptr) {
  Gpu gpu(options);
  uint32_t* out = gpu.upload(std::vector<uint32_t>(64 * blocks, 0));
  uint32_t* raw = gpu.allocate<uint32_t>(64);
  Caught c;
  try {
    auto& module = gpu.machine.load(std::string(ptx_header) + R"(
.visible .entry k(.param .u64 out, .param .u64 raw)
{
  .reg .pred %p, %q; .reg .b32 %t, %b, %r<8>, %s, %base; .reg .b64 %o, %all, %raw, %rd<4>;
  .shared .align 16 .b8 sm[1024];
  ld.param.u64 %all, [out]; ld.param.u64 %raw, [raw];
  mov.u32 %t, %tid.x; mov.u32 %b, %ctaid.x; mov.u32 %base, sm; mad.lo.u32 %s, %t, 4, %base;
  mad.lo.u32 %r0, %b, 64, %t; mad.wide.u32 %o, %r0, 4, %all;
  )" + body + "\n ret;\n}");
    gpu.launch(module, "k", {blocks}, {threads}, 0, out, raw);
  } catch (const vgpu::Fault& f) {
    c = {f.report.kind, f.report.text};
  }
  if (warnings) *warnings = gpu.warnings;
  if (result) result->assign(out, out + 64 * blocks);
  return c;
}

}  // namespace

TEST_CASE("bounds, alignment, use after free") {
  CHECK(catch_fault("st.global.u32 [%o], %t;").kind == "");
  CHECK(catch_fault("st.global.u32 [%o+4], %t;").kind == "out of bounds");
  CHECK(catch_fault("st.global.u32 [%o+4], %t;").text.find("0 bytes past the end of array 1") != std::string::npos);
  CHECK(catch_fault("st.global.u32 [%o+4], %t;").text.find("thread (63,0,0)") != std::string::npos);
  CHECK(catch_fault("ld.global.u32 %r1, [%o+-4];").kind == "out of bounds");
  CHECK(catch_fault("ld.shared.u32 %r1, [%s+1000];").kind == "out of bounds");
  CHECK(catch_fault(".local .b32 l[2]; mov.u64 %rd0, l; ld.local.u32 %r1, [%rd0+8];").kind == "out of bounds");
  CHECK(catch_fault("mov.u64 %rd0, 0; ld.global.u32 %r1, [%rd0];").kind == "out of bounds");
  CHECK(catch_fault("ld.global.u32 %r1, [%all+2];").kind == "misaligned access");
  CHECK(catch_fault("ld.global.v4.u32 {%r1,%r2,%r3,%r4}, [%all+8];").kind == "misaligned access");
  CHECK(catch_fault("st.shared.v2.u32 [%base+4], {%t, %t};").kind == "misaligned access");
  CHECK(catch_fault("atom.global.add.u64 %rd0, [%all+4], 1;").kind == "misaligned access");
  Gpu gpu;
  auto* p = gpu.upload(std::vector<uint32_t>(64, 1));
  gpu.machine.memory().remove(p, "cudaFree at test.cu:7");
  auto& module = gpu.machine.load(std::string(ptx_header) +
                                  ".visible .entry k(.param .u64 p) { .reg .b64 %a; .reg .b32 %r; ld.param.u64 %a, "
                                  "[p]; ld.global.u32 %r, [%a+8]; ret; }");
  try {
    gpu.launch(module, "k", {1}, {1}, 0, p);
    CHECK(false);
  } catch (const vgpu::Fault& f) {
    CHECK(f.report.kind == "use after free");
    CHECK(f.report.text.find("freed: cudaFree at test.cu:7") != std::string::npos);
  }
}

TEST_CASE("uninitialised reads of shared and global memory") {
  CHECK(catch_fault("ld.shared.u32 %r1, [%s];").kind == "uninitialised read");
  CHECK(catch_fault("ld.global.u32 %r1, [%raw];").kind == "uninitialised read");
  CHECK(catch_fault("st.shared.u16 [%s], 1; ld.shared.u32 %r1, [%s];").text.find("byte 2") != std::string::npos);
  CHECK(catch_fault("setp.eq.u32 %p, %t, 0; @%p st.global.u32 [%raw], 1; @%p ld.global.u32 %r1, [%raw];").kind == "");
  vgpu::Options options;
  options.checks = vgpu::check_race;
  CHECK(catch_fault("ld.shared.u32 %r1, [%s];", 64, 1, options).kind == "");
}

TEST_CASE("races: within a block, between blocks, and what orders accesses") {
  // Write, then another thread of another warp reads.
  const std::string write = "st.shared.u32 [%s], %t; ",
                    read_other = "xor.b32 %r1, %t, 32; mad.lo.u32 %r1, %r1, 4, %base; ld.shared.u32 %r2, [%r1]; ";
  vgpu::Options race;
  race.checks = vgpu::check_race;
  CHECK(catch_fault(write + read_other, 64, 1, race).kind == "data race");
  CHECK(catch_fault(write + "bar.sync 0; " + read_other, 64, 1, race).kind == "");
  CHECK(catch_fault(write + "bar.sync 0; " + read_other + "st.shared.u32 [%s], 0;", 64, 1, race).kind == "data race");
  CHECK(catch_fault(write + "bar.sync 0; " + read_other + "bar.sync 0; st.shared.u32 [%s], 0;", 64, 1, race).kind ==
        "");
  // Within a warp: a __syncwarp orders, a shuffle only looks like it.
  const std::string read_lane = "xor.b32 %r1, %t, 1; mad.lo.u32 %r1, %r1, 4, %base; ld.shared.u32 %r2, [%r1]; ";
  CHECK(catch_fault(write + read_lane, 32, 1, race).kind == "data race");
  CHECK(catch_fault(write + "bar.warp.sync -1; " + read_lane, 32, 1, race).kind == "");
  std::vector<vgpu::Report> warnings;
  CHECK(catch_fault(write + "shfl.sync.idx.b32 %r3, %t, 0, 31, -1; " + read_lane, 32, 1, race, &warnings).kind == "");
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].kind == "ordered by a shuffle only");
  // Several lanes write one place: the same value is a warning, different ones are a race.
  CHECK(catch_fault("st.shared.u32 [%base], 7;", 64, 1, race, &warnings).kind == "");
  REQUIRE(!warnings.empty());
  CHECK(warnings[0].kind == "same-value write");
  CHECK(catch_fault("st.shared.u32 [%base], %t;", 32, 1, race).kind == "data race");
  CHECK(catch_fault("st.global.u32 [%all], %t;", 32, 1, race).kind == "data race");
  // Neighbours in one word do not conflict.
  CHECK(catch_fault("add.u32 %r1, %base, %t; st.shared.u8 [%r1], %t; ld.shared.u8 %r2, [%r1];", 64, 1, race).kind ==
        "");
  CHECK(
      catch_fault("cvt.u64.u32 %rd0, %t; add.u64 %rd0, %all, %rd0; st.global.u8 [%rd0], %t; ld.global.u8 %r2, [%rd0];",
                  64, 1, race)
          .kind == "");
  // Between blocks only atomics.
  CHECK(catch_fault("st.global.u32 [%o], 1; bar.sync 0; ld.global.u32 %r1, [%all];", 64, 2, race).kind == "data race");
  CHECK(catch_fault("ld.global.u32 %r1, [%all]; bar.sync 0; setp.eq.u32 %p, %t, 0; @%p st.global.u32 [%all], %b;", 64,
                    2, race)
            .kind == "data race");
  CHECK(catch_fault("red.global.add.u32 [%all], 1;", 64, 4, race).kind == "");
  CHECK(catch_fault("setp.eq.u32 %p, %t, 0; @%p red.global.add.u32 [%all], 1; @%p ld.global.u32 %r1, [%all];", 64, 4,
                    race)
            .kind == "data race");
  CHECK(catch_fault("red.shared.add.u32 [%base], 1; bar.sync 0; ld.shared.u32 %r1, [%base];", 64, 1, race).kind == "");
  CHECK(catch_fault("red.shared.add.u32 [%base], 1; ld.shared.u32 %r1, [%base];", 64, 1, race).kind == "data race");
  // Both sides are named.
  const Caught both = catch_fault(write + read_other, 64, 1, race);
  CHECK(both.text.find("st.shared.u32 [%s], %t") != std::string::npos);
  CHECK(both.text.find("ld.shared.u32 %r2, [%r1]") != std::string::npos);
  CHECK(both.text.find("thread (0,0,0)") != std::string::npos);
  CHECK(both.text.find("thread (32,0,0)") != std::string::npos);
}

TEST_CASE("the last block of a grid may read what the others wrote, if fences and an atomic lie between") {
  vgpu::Options race;
  race.checks = vgpu::check_race;
  // Block b writes its word 0; the block that counts last adds them up.
  const std::string text = R"(
  setp.ne.u32 %p, %t, 0; @%p bra END;
  add.u32 %r1, %b, 10; st.global.u32 [%o], %r1;
  FENCE
  atom.global.add.u32 %r2, [%all+252], 1;
  setp.ne.u32 %p, %r2, 3; @%p bra END;
  FENCE
  ld.global.u32 %r1, [%all]; ld.global.u32 %r2, [%all+256];
  ld.global.u32 %r3, [%all+512]; ld.global.u32 %r4, [%all+768];
  add.u32 %r1, %r1, %r2; add.u32 %r1, %r1, %r3; add.u32 %r1, %r1, %r4; st.global.u32 [%all+4], %r1;
END: )";
  const auto with = [&](const std::string& fence) {
    std::string s = text;
    for (size_t at; (at = s.find("FENCE")) != s.npos;) s.replace(at, 5, fence);
    return s;
  };
  std::vector<uint32_t> r;
  CHECK(catch_fault(with("membar.gl;"), 32, 4, race, nullptr, &r).kind == "");
  CHECK(r[1] == 46);
  CHECK(catch_fault(with("fence.acq_rel.gpu;"), 32, 4, race).kind == "");
  CHECK(catch_fault(with("membar.cta;"), 32, 4, race).kind == "data race");
  CHECK(catch_fault(with(""), 32, 4, race).kind == "data race");
}

TEST_CASE("device functions: calls from diverged lanes, parameters, results; recursion is refused") {
  Gpu gpu;
  auto* out = gpu.upload(std::vector<uint32_t>(32, 0));
  const std::string text = std::string(ptx_header) + R"(
.func (.param .b32 r) twice(.param .b32 x)
{ .reg .b32 %a; ld.param.b32 %a, [x]; add.u32 %a, %a, %a; st.param.b32 [r+0], %a; ret; }
.func (.param .align 4 .b8 r[8]) pair(.param .b32 x, .param .align 4 .b8 s[8])
{ .reg .b32 %a, %b, %c; .reg .pred %p;
  ld.param.b32 %a, [x]; ld.param.b32 %b, [s]; ld.param.b32 %c, [s+4];
  setp.lt.u32 %p, %a, 8; @%p bra SMALL;
  { .param .b32 p0; st.param.b32 [p0+0], %a; .param .b32 q; call.uni (q), twice, (p0); ld.param.b32 %a, [q+0]; }
  SMALL: st.param.b32 [r+0], %a; add.u32 %b, %b, %c; st.param.b32 [r+4], %b; ret; }
.visible .entry k(.param .u64 out)
{ .reg .b32 %t, %u, %v, %w; .reg .b64 %o; .reg .pred %p;
  ld.param.u64 %o, [out]; mov.u32 %t, %tid.x; mad.wide.u32 %o, %t, 4, %o;
  and.b32 %u, %t, 1; setp.eq.u32 %p, %u, 0; mov.u32 %v, 0; @%p bra EVEN;
  { .param .b32 p0; st.param.b32 [p0+0], %t; .param .align 4 .b8 p1[8]; st.param.b32 [p1+0], 100;
    st.param.b32 [p1+4], %t; .param .align 4 .b8 q[8]; call.uni (q), pair, (p0, p1);
    ld.param.b32 %v, [q+0]; ld.param.b32 %w, [q+4]; add.u32 %v, %v, %w; }
  bra END;
  EVEN: { .param .b32 p0; st.param.b32 [p0+0], %t; .param .b32 q; call.uni (q), twice, (p0); ld.param.b32 %v, [q+0]; }
  END: st.global.u32 [%o], %v; ret; }
.func loop(.param .b32 x) { .reg .b32 %a; { .param .b32 p0; st.param.b32 [p0+0], 1; call.uni loop, (p0); } ret; }
.visible .entry recursive() { { .param .b32 p0; st.param.b32 [p0+0], 1; call.uni loop, (p0); } ret; }
)";
  auto& module = gpu.machine.load(text);
  gpu.launch(module, "k", {1}, {32}, 0, out);
  for (uint32_t t = 0; t < 32; t++) CHECK(out[t] == (t % 2 == 0 ? 2 * t : (t < 8 ? t : 2 * t) + 100 + t));
  std::string kind, report;
  try {
    gpu.launch(module, "recursive", {1}, {1}, 0);
  } catch (const vgpu::Fault& f) {
    report = f.report.text;
  }
  CHECK(report.find("recursion is not supported") != report.npos);
}

TEST_CASE("named barriers order only the warps that meet at them") {
  vgpu::Options race;
  race.checks = vgpu::check_race;
  // Warp 1 produces, warp 0 consumes, over barrier 1 of 64 threads; warps 2 and 3 are elsewhere.
  const std::string produce = R"(
  shr.u32 %r1, %t, 5; setp.eq.u32 %p, %r1, 1; @!%p bra OTHER;
  st.shared.u32 [%s], %t; bar.arrive 1, 64; bra END;
OTHER: setp.eq.u32 %p, %r1, 0; @!%p bra END;
  WAIT
  ld.shared.u32 %r2, [%s+128];
END: )";
  std::string good = produce, bad = produce;
  good.replace(good.find("WAIT"), 4, "bar.sync 1, 64;");
  bad.replace(bad.find("WAIT"), 4, "");
  CHECK(catch_fault(good, 128, 1, race).kind == "");
  CHECK(catch_fault(bad, 128, 1, race).kind == "data race");
}

TEST_CASE("barriers that not everyone comes to") {
  CHECK(catch_fault("setp.lt.u32 %p, %t, 16; @%p bar.sync 0; st.global.u32 [%o], %t;").kind == "barrier");
  CHECK(catch_fault("setp.lt.u32 %p, %t, 32; @%p bra A; bar.sync 0; bra END; A: bar.sync 0; END: ")
            .text.find("different barriers") != std::string::npos);
  CHECK(catch_fault("setp.lt.u32 %p, %t, 32; @!%p bra END; bar.sync 0; END: bar.sync 1;").kind == "barrier");
  CHECK(catch_fault("bar.sync 1, 32; bar.sync 0;").kind == "");
  CHECK(catch_fault("bar.sync 16;").kind == "barrier");
  CHECK(catch_fault("bar.sync 1, 40;").kind == "barrier");
  // Early returns are no divergence: exited threads are not waited for.
  CHECK(catch_fault("setp.lt.u32 %p, %t, 40; @%p bra END; bar.sync 0; END: ").kind == "");
  std::vector<uint32_t> r;
  CHECK(
      catch_fault(
          "setp.lt.u32 %p, %t, 5; bar.red.popc.u32 %r1, 0, %p; bar.red.and.pred %q, 0, %p; selp.u32 %r2, 1000, 0, %q; "
          "bar.red.or.pred %q, 0, %p; selp.u32 %r3, 100, 0, %q; add.u32 %r1, %r1, %r2; add.u32 %r1, %r1, %r3; "
          "st.global.u32 [%o], %r1;",
          64, 1, {}, nullptr, &r)
          .kind == "");
  CHECK(r == std::vector<uint32_t>(64, 105));
}

TEST_CASE("lanes that leave a loop at different times meet again at the barrier above it") {
  std::vector<uint32_t> r;
  // Outer loop of 3 turns with a barrier on top, inner loop of t turns.
  CHECK(catch_fault(R"(
  mov.u32 %r1, 0; mov.u32 %r4, 0;
TOP: bar.sync 0;
  mov.u32 %r2, 0;
INNER: setp.ge.u32 %p, %r2, %t; @%p bra NEXT;
  add.u32 %r2, %r2, 1; add.u32 %r4, %r4, 1; bra INNER;
NEXT: add.u32 %r1, %r1, 1; setp.lt.u32 %p, %r1, 3; @%p bra TOP;
  st.global.u32 [%o], %r4;)",
                    64, 1, {}, nullptr, &r)
            .kind == "");
  for (uint32_t t = 0; t < 64; t++) CHECK(r[t] == 3 * t);
}

TEST_CASE("a lane that holds a lock is not starved by those that spin for it, nor a warp by another") {
  std::vector<uint32_t> r;
  CHECK(catch_fault(R"(
  setp.eq.u32 %p, %t, 0; @%p st.shared.u32 [%base], 0; bar.sync 0;
SPIN: atom.shared.cas.b32 %r1, [%base], 0, 1; setp.ne.u32 %p, %r1, 0; @%p bra SPIN;
  ld.volatile.global.u32 %r2, [%all]; add.u32 %r2, %r2, 1; st.volatile.global.u32 [%all], %r2;
  atom.shared.exch.b32 %r1, [%base], 0;)",
                    64, 1, {}, nullptr, &r)
            .kind == "");
  CHECK(r[0] == 64);
  vgpu::Options options;
  options.max_warp_instructions = 1000000;
  CHECK(catch_fault("SPIN: bra SPIN;", 32, 1, options).kind == "stuck");
}

TEST_CASE("sums of floats by atomics do not depend on the number of cores") {
  std::vector<uint32_t> first;
  for (const int threads : {1, 2, 2, 2}) {
    vgpu::Options options;
    options.threads = threads;
    std::vector<uint32_t> r;
    CHECK(
        catch_fault(
            "cvt.rn.f32.u32 %r1, %r0; rcp.rn.f32 %r1, %r1; setp.gt.u32 %p, %r0, 0; @%p red.global.add.f32 [%all], %r1;",
            64, 50, options, nullptr, &r)
            .kind == "");
    if (first.empty()) first = r;
    CHECK(r == first);
  }
}

TEST_CASE("a schedule's seed changes the order of blocks, and the result of what depends on it") {
  std::vector<uint32_t> plain, seeded;
  vgpu::Options options;
  CHECK(catch_fault("setp.eq.u32 %p, %t, 0; @%p atom.global.add.u32 %r1, [%all], 1; @%p st.global.u32 [%o+4], %r1;", 32,
                    8, options, nullptr, &plain)
            .kind == "");
  options.schedule = 3;
  CHECK(catch_fault("setp.eq.u32 %p, %t, 0; @%p atom.global.add.u32 %r1, [%all], 1; @%p st.global.u32 [%o+4], %r1;", 32,
                    8, options, nullptr, &seeded)
            .kind == "");
  for (uint32_t b = 0; b < 8; b++) CHECK(plain[64 * b + 1] == b);
  CHECK(plain != seeded);
}

TEST_CASE("--perturb moves approximations, within their error and the same way each time") {
  std::vector<uint32_t> exact, moved, again;
  const std::string body =
      "shr.u32 %r1, %t, 1; cvt.rn.f32.u32 %r1, %r1; add.f32 %r1, %r1, 0f3F800000; rcp.approx.f32 %r1, %r1; "
      "st.global.u32 [%o], %r1;";
  vgpu::Options options;
  catch_fault(body, 64, 1, options, nullptr, &exact);
  options.perturb = true;
  catch_fault(body, 64, 1, options, nullptr, &moved);
  catch_fault(body, 64, 1, options, nullptr, &again);
  CHECK(moved == again);
  int changed = 0;
  for (int t = 0; t < 64; t++) {
    CHECK(std::abs(static_cast<int>(exact[t]) - static_cast<int>(moved[t])) <= 1);
    changed += exact[t] != moved[t];
  }
  CHECK(changed > 5);
  for (size_t i = 0; i < 64; i += 2) CHECK(moved[i] == moved[i + 1]);  // the same operand gives the same result
  // 2^0 and cos(0) are 1 by the PTX ISA's tables.
  for (const char* op : {"ex2.approx.ftz.f32", "ex2.approx.f32", "cos.approx.f32"}) {
    catch_fault("mov.f32 %r1, 0f00000000; " + std::string(op) + " %r1, %r1; st.global.u32 [%o], %r1;", 32, 1, options,
                nullptr, &moved);
    CHECK(moved[0] == 0x3f800000);
  }
}

TEST_CASE("bank conflicts and sectors are counted") {
  const auto count = [](const std::string& body) {
    vgpu::Options options;
    options.checks = 0;
    Gpu gpu(options);
    uint32_t* out = gpu.upload(std::vector<uint32_t>(4096, 0));
    auto& module = gpu.machine.load(std::string(ptx_header) + R"(
.visible .entry k(.param .u64 out) { .reg .b32 %t, %r<5>; .reg .b64 %o, %a; .shared .align 16 .b8 s[8192];
  ld.param.u64 %o, [out]; mov.u32 %t, %tid.x; )" +
                                    body + " ret; }");
    gpu.launch(module, "k", {1}, {32}, 0, out);
    return gpu.machine.counts().at(0).total;
  };
  CHECK(count("mul.lo.u32 %r1, %t, 4; ld.shared.u32 %r2, [%r1];").shared_wavefronts == 1);
  CHECK(count("mul.lo.u32 %r1, %t, 8; ld.shared.u32 %r2, [%r1];").shared_wavefronts == 2);
  CHECK(count("mul.lo.u32 %r1, %t, 128; ld.shared.u32 %r2, [%r1];").shared_wavefronts == 32);
  CHECK(count("mul.lo.u32 %r1, %t, 132; ld.shared.u32 %r2, [%r1];").shared_wavefronts == 1);
  CHECK(count("ld.shared.u32 %r2, [s];").shared_wavefronts == 1);
  CHECK(count("mul.lo.u32 %r1, %t, 16; ld.shared.v4.u32 {%r1,%r2,%r3,%r4}, [%r1];").shared_wavefronts == 4);
  CHECK(count("mul.lo.u32 %r1, %t, 16; ld.shared.v4.u32 {%r1,%r2,%r3,%r4}, [%r1];").shared_wavefronts_min == 4);
  CHECK(count("mul.lo.u32 %r1, %t, 32; ld.shared.v4.u32 {%r1,%r2,%r3,%r4}, [%r1];").shared_wavefronts == 8);
  CHECK(count("mul.lo.u32 %r1, %t, 8; ld.shared.v2.u32 {%r1,%r2}, [%r1];").shared_wavefronts == 2);
  CHECK(count("mad.wide.u32 %a, %t, 4, %o; ld.global.u32 %r1, [%a];").global_sectors == 4);
  CHECK(count("mad.wide.u32 %a, %t, 4, %o; ld.global.u32 %r1, [%a+4];").global_sectors == 5);
  CHECK(count("mad.wide.u32 %a, %t, 32, %o; ld.global.u32 %r1, [%a];").global_sectors == 32);
  CHECK(count("mad.wide.u32 %a, %t, 32, %o; ld.global.u32 %r1, [%a];").global_sectors_min == 4);
  CHECK(count("ld.global.u32 %r1, [%o];").global_sectors == 1);
  CHECK(count("mad.wide.u32 %a, %t, 16, %o; ld.global.v4.u32 {%r1,%r2,%r3,%r4}, [%a];").global_sectors == 16);
}
