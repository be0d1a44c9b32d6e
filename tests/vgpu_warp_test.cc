// Instructions of a whole warp: shuffles, votes, matches, reductions, matrices, copies to shared memory.
#include "vgpu/machine.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <functional>

#include "tests/vgpu_fixture.h"

using namespace vgpu_test;

namespace {

// Runs `body` on one warp: lane l has %a = in[l], %b = in[32 + l], ... up to 8 words a lane in %a0..%a7, and leaves
// results in %d0..%d3.
std::vector<uint32_t> run_warp(const std::string& body, const std::vector<uint32_t>& in, int words, int threads = 32) {
  std::string text = std::string(ptx_header) + R"(
.visible .entry k(.param .u64 in, .param .u64 out)
{
  .reg .pred %p, %q; .reg .b32 %a<10>, %d<4>, %l, %t; .reg .b64 %i, %o, %D<4>; .reg .b16 %h<4>;
  .shared .align 16 .b8 s[4096];
  ld.param.u64 %i, [in]; ld.param.u64 %o, [out];
  mov.u32 %l, %tid.x;
  mad.wide.u32 %i, %l, 4, %i;
  mad.wide.u32 %o, %l, 16, %o;
  mov.u32 %d0, 0; mov.u32 %d1, 0; mov.u32 %d2, 0; mov.u32 %d3, 0;
)";
  for (int i = 0; i < words; i++)
    text += "  ld.global.u32 %a" + std::to_string(i) + ", [%i+" + std::to_string(128 * i) + "];\n";
  text += body + "\n  st.global.v4.u32 [%o], {%d0, %d1, %d2, %d3};\n  ret;\n}";
  vgpu::Options options;
  options.threads = 1;
  Gpu gpu(options);
  auto* din = gpu.upload(in);
  auto* out = gpu.upload(std::vector<uint32_t>(128, 0xdead));
  gpu.launch(gpu.machine.load(text), "k", {1}, {static_cast<uint32_t>(threads)}, 0, din, out);
  return {out, out + 128};
}

std::vector<uint32_t> lanes(int words, const std::function<uint32_t(int word, uint32_t lane)>& value) {
  std::vector<uint32_t> v;
  for (int w = 0; w < words; w++)
    for (uint32_t l = 0; l < 32; l++) v.push_back(value(w, l));
  return v;
}

// Expects result word `word` of each lane.
void expect(const std::vector<uint32_t>& got, int word, const std::function<uint32_t(uint32_t)>& want) {
  for (uint32_t l = 0; l < 32; l++) {
    CAPTURE(l);
    CHECK(got[4 * l + static_cast<uint32_t>(word)] == want(l));
  }
}

std::string fault_of(const std::string& body, int threads = 32) {
  try {
    run_warp(body, lanes(1, [](int, uint32_t l) { return l; }), 1, threads);
  } catch (const vgpu::Fault& f) {
    return f.report.kind;
  }
  return "(none)";
}

const auto identity = lanes(1, [](int, uint32_t l) { return l * 10; });

// A small generator, so that matrices are not symmetric in anything.
int pseudo(uint32_t i) { return static_cast<int>((i * 2654435761u >> 13) % 15) - 7; }
uint32_t bf16(int v) { return std::bit_cast<uint32_t>(static_cast<float>(v)) >> 16; }
uint32_t f16(int v) { return std::bit_cast<uint16_t>(static_cast<_Float16>(v)); }
uint32_t f32(float v) { return std::bit_cast<uint32_t>(v); }

}  // namespace

TEST_CASE("shfl in all its modes") {
  auto r = run_warp("shfl.sync.bfly.b32 %d0|%p, %a0, 5, 31, -1; selp.u32 %d1, 1, 0, %p;", identity, 1);
  expect(r, 0, [](uint32_t l) { return (l ^ 5) * 10; });
  expect(r, 1, [](uint32_t) { return 1; });
  r = run_warp("shfl.sync.up.b32 %d0|%p, %a0, 3, 0, -1; selp.u32 %d1, 1, 0, %p;", identity, 1);
  expect(r, 0, [](uint32_t l) { return (l >= 3 ? l - 3 : l) * 10; });
  expect(r, 1, [](uint32_t l) { return l >= 3; });
  r = run_warp("shfl.sync.down.b32 %d0|%p, %a0, 3, 31, -1; selp.u32 %d1, 1, 0, %p;", identity, 1);
  expect(r, 0, [](uint32_t l) { return (l < 29 ? l + 3 : l) * 10; });
  expect(r, 1, [](uint32_t l) { return l < 29; });
  r = run_warp("shfl.sync.idx.b32 %d0, %a0, 7, 31, -1;", identity, 1);
  expect(r, 0, [](uint32_t) { return 70; });
  // Width 8: segment mask 0x18, as __shfl_down_sync(m, v, 2, 8) gives.
  r = run_warp("shfl.sync.down.b32 %d0, %a0, 2, 0x181f, -1;", identity, 1);
  expect(r, 0, [](uint32_t l) { return (l % 8 < 6 ? l + 2 : l) * 10; });
  r = run_warp("shfl.sync.idx.b32 %d0, %a0, 9, 0x181f, -1;", identity, 1);
  expect(r, 0, [](uint32_t l) { return (l / 8 * 8 + 1) * 10; });
}

TEST_CASE("shfl waits for the lanes of its mask, and reports those that do not come") {
  // Even lanes take a longer way to the same shuffle.
  const auto r = run_warp(R"(
  and.b32 %t, %l, 1; setp.eq.u32 %p, %t, 0; @%p bra LONG; bra JOIN;
LONG: add.u32 %a0, %a0, 1;
JOIN: shfl.sync.bfly.b32 %d0, %a0, 1, 31, -1;)",
                          identity, 1);
  expect(r, 0, [](uint32_t l) { return (l ^ 1) * 10 + (l % 2 ? 1 : 0); });
  CHECK(fault_of("setp.lt.u32 %p, %l, 16; @%p shfl.sync.bfly.b32 %d0, %a0, 1, 31, -1;") == "shuffle mask");
  CHECK(fault_of("setp.lt.u32 %p, %l, 16; @%p shfl.sync.bfly.b32 %d0, %a0, 1, 31, 0xffff;") == "(none)");
  CHECK(fault_of("shfl.sync.bfly.b32 %d0, %a0, 1, 31, 0xffff;") == "shuffle mask");
  CHECK(fault_of("setp.lt.u32 %p, %l, 16; @%p shfl.sync.bfly.b32 %d0, %a0, 16, 31, 0xffff;") == "shuffle mask");
  // Halves with masks of their own.
  CHECK(fault_of(
            "setp.lt.u32 %p, %l, 16; selp.b32 %t, 0xffff, 0xffff0000, %p; shfl.sync.bfly.b32 %d0, %a0, 8, 31, %t;") ==
        "(none)");
  CHECK(fault_of("setp.ge.u32 %p, %l, 8; @%p exit; shfl.sync.bfly.b32 %d0, %a0, 1, 31, -1;") == "(none)");
}

TEST_CASE("vote, match, redux, activemask, elect") {
  auto r = run_warp(
      R"(setp.lt.u32 %p, %l, 5; vote.sync.ballot.b32 %d0, %p, -1; vote.sync.any.pred %q, %p, -1; selp.u32 %d1, 1, 0, %q;
    vote.sync.all.pred %q, %p, -1; selp.u32 %d2, 1, 0, %q; vote.sync.uni.pred %q, %p, -1; selp.u32 %d3, 1, 0, %q;)",
      identity, 1);
  expect(r, 0, [](uint32_t) { return 0x1f; });
  expect(r, 1, [](uint32_t) { return 1; });
  expect(r, 2, [](uint32_t) { return 0; });
  expect(r, 3, [](uint32_t) { return 0; });
  r = run_warp(
      "and.b32 %t, %l, 3; match.any.sync.b32 %d0, %t, -1; match.all.sync.b32 %d1|%p, %t, -1; match.all.sync.b32 "
      "%d2|%p, 7, -1; selp.u32 %d3, 1, 0, %p;",
      identity, 1);
  expect(r, 0, [](uint32_t l) { return 0x11111111u << l % 4; });
  expect(r, 1, [](uint32_t) { return 0; });
  expect(r, 2, [](uint32_t) { return ~0u; });
  expect(r, 3, [](uint32_t) { return 1; });
  r = run_warp(
      "redux.sync.add.u32 %d0, %a0, -1; redux.sync.max.s32 %d1, %a0, -1; redux.sync.min.u32 %d2, %a0, -1; "
      "redux.sync.xor.b32 %d3, %l, -1;",
      identity, 1);
  expect(r, 0, [](uint32_t) { return 4960; });
  expect(r, 1, [](uint32_t) { return 310; });
  expect(r, 2, [](uint32_t) { return 0; });
  expect(r, 3, [](uint32_t) { return 0; });
  r = run_warp(
      "setp.lt.u32 %p, %l, 9; @!%p bra REST; activemask.b32 %d0; REST: bar.warp.sync -1; activemask.b32 %d1; "
      "elect.sync %d2|%p, -1; selp.u32 %d3, 1, 0, %p;",
      identity, 1);
  expect(r, 0, [](uint32_t l) { return l < 9 ? 0x1ff : 0; });
  expect(r, 1, [](uint32_t) { return ~0u; });
  expect(r, 2, [](uint32_t) { return 0; });
  expect(r, 3, [](uint32_t l) { return l == 0; });
}

TEST_CASE("brx.idx jumps by its table") {
  const auto r = run_warp(R"(
  and.b32 %t, %l, 3;
  ts: .branchtargets L0, L1, L2, L0;
  brx.idx %t, ts;
L0: mov.u32 %d0, 100; bra END;
L1: mov.u32 %d0, 101; bra END;
L2: mov.u32 %d0, 102;
END: )",
                          identity, 1);
  expect(r, 0, [](uint32_t l) { return l % 4 == 1 ? 101 : l % 4 == 2 ? 102 : 100; });
}

TEST_CASE("ldmatrix and stmatrix") {
  // Shared memory holds 256 words, word i = i; row r of matrix x begins at word 32 x + 4 r.
  const std::string fill = R"(
  mov.u32 %t, s; mad.lo.u32 %a9, %l, 4, %t;
  st.shared.u32 [%a9], %l; add.u32 %a1, %l, 32; st.shared.u32 [%a9+128], %a1;
  add.u32 %a1, %l, 64; st.shared.u32 [%a9+256], %a1;
  add.u32 %a1, %l, 96; st.shared.u32 [%a9+384], %a1; bar.sync 0;
  mad.lo.u32 %a9, %l, 16, %t;)";
  auto r = run_warp(fill + "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%d0, %d1, %d2, %d3}, [%a9];", identity, 1);
  for (int x = 0; x < 4; x++) expect(r, x, [&](uint32_t l) { return 32u * static_cast<uint32_t>(x) + l; });
  // Transposed: lane 4g + q has elements (2q, g) and (2q + 1, g); element (r, c) is half c % 2 of word 4 r + c / 2.
  r = run_warp(fill + "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%d0, %d1}, [%a9];", identity, 1);
  for (int x = 0; x < 2; x++)
    expect(r, x, [&](uint32_t l) {
      const auto element = [&](uint32_t row, uint32_t c) {
        return c % 2 ? 0 : 32u * static_cast<uint32_t>(x) + 4 * row + c / 2;
      };
      return element(2 * (l % 4), l / 4) | element(2 * (l % 4) + 1, l / 4) << 16;
    });
  r = run_warp(fill + R"(ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%a1}, [%a9]; bar.sync 0;
    stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%a9+512], {%a1}; bar.sync 0;
    mad.lo.u32 %a9, %l, 4, %t; ld.shared.u32 %d0, [%a9+512];
    movmatrix.sync.aligned.m8n8.trans.b16 %d1, %a1;)",
               identity, 1);
  for (int word = 0; word < 2; word++)
    expect(r, word, [&](uint32_t l) {
      const auto element = [&](uint32_t row, uint32_t c) { return c % 2 ? 0 : 4 * row + c / 2; };
      return element(2 * (l % 4), l / 4) | element(2 * (l % 4) + 1, l / 4) << 16;
    });
}

TEST_CASE("mma of halves, tf32 and bytes: whole products of small integers are exact") {
  // A[16][k] and B[k][8] of small integers; fragments as the PTX ISA lays them out.
  const auto a = [](uint32_t m, uint32_t k) { return pseudo(m * 131 + k); };
  const auto b = [](uint32_t k, uint32_t n) { return pseudo(k * 17 + n + 5000); };
  const auto c = [](uint32_t m, uint32_t n) { return pseudo(m * 9 + n + 9000); };
  const auto want = [&](uint32_t m, uint32_t n, uint32_t depth) {
    int s = c(m, n);
    for (uint32_t k = 0; k < depth; k++) s += a(m, k) * b(k, n);
    return s;
  };
  const auto half_inputs = [&](uint32_t depth, const std::function<uint32_t(int)>& h) {
    const uint32_t na = depth / 4, nb = depth / 8;
    return lanes(static_cast<int>(na + nb), [&](int word, uint32_t l) {
      const uint32_t g = l / 4, q = l % 4, r = static_cast<uint32_t>(word);
      if (r < na)
        return h(a(g + 8 * (r % 2), 2 * q + 8 * (r / 2))) | h(a(g + 8 * (r % 2), 2 * q + 8 * (r / 2) + 1)) << 16;
      return h(b(2 * q + 8 * (r - na), g)) | h(b(2 * q + 8 * (r - na) + 1, g)) << 16;
    });
  };
  const auto sums = [&](const std::string& regs) {
    std::string text;  // c(m, n) is computed here and passed as constants a lane would load
    for (uint32_t r = 0; r < 4; r++) text += "mov.b32 %d" + std::to_string(r) + ", 0;";
    return text + regs;
  };
  const auto check_f32 = [&](const std::vector<uint32_t>& r, uint32_t depth) {
    for (uint32_t word = 0; word < 4; word++)
      expect(r, static_cast<int>(word), [&](uint32_t l) {
        const uint32_t m = l / 4 + 8 * (word / 2), n = 2 * (l % 4) + word % 2;
        return f32(static_cast<float>(want(m, n, depth) - c(m, n)));
      });
  };
  check_f32(run_warp(sums("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%d0,%d1,%d2,%d3}, {%a0,%a1,%a2,%a3}, "
                          "{%a4,%a5}, {%d0,%d1,%d2,%d3};"),
                     half_inputs(16, bf16), 6),
            16);
  check_f32(run_warp(sums("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%d0,%d1,%d2,%d3}, {%a0,%a1,%a2,%a3}, "
                          "{%a4,%a5}, {%d0,%d1,%d2,%d3};"),
                     half_inputs(16, f16), 6),
            16);
  check_f32(run_warp(sums("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%d0,%d1,%d2,%d3}, {%a0,%a1}, {%a2}, "
                          "{%d0,%d1,%d2,%d3};"),
                     half_inputs(8, bf16), 3),
            8);
  // f16 sums: both columns in one register.
  const auto r16 =
      run_warp("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%d0,%d1}, {%a0,%a1,%a2,%a3}, {%a4,%a5}, {%d0,%d1};",
               half_inputs(16, f16), 6);
  for (uint32_t word = 0; word < 2; word++)
    expect(r16, static_cast<int>(word), [&](uint32_t l) {
      const uint32_t m = l / 4 + 8 * word, n = 2 * (l % 4);
      return f16(want(m, n, 16) - c(m, n)) | f16(want(m, n + 1, 16) - c(m, n + 1)) << 16;
    });
  const auto tf32_inputs = [&](uint32_t depth) {
    const uint32_t na = depth / 2, nb = depth / 4;
    return lanes(static_cast<int>(na + nb), [&](int word, uint32_t l) {
      const uint32_t g = l / 4, q = l % 4, r = static_cast<uint32_t>(word);
      // Low bits that tf32 does not look at are set.
      return f32(static_cast<float>(r < na ? a(g + 8 * (r % 2), q + 4 * (r / 2)) : b(q + 4 * (r - na), g))) | 0x1fff;
    });
  };
  check_f32(run_warp(sums("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%d0,%d1,%d2,%d3}, {%a0,%a1,%a2,%a3}, "
                          "{%a4,%a5}, {%d0,%d1,%d2,%d3};"),
                     tf32_inputs(8), 6),
            8);
  check_f32(run_warp(sums("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%d0,%d1,%d2,%d3}, {%a0,%a1}, {%a2}, "
                          "{%d0,%d1,%d2,%d3};"),
                     tf32_inputs(4), 3),
            4);
  const auto byte_inputs = [&](uint32_t depth) {
    const uint32_t na = depth / 8, nb = depth / 16;
    return lanes(static_cast<int>(na + nb), [&](int word, uint32_t l) {
      const uint32_t g = l / 4, q = l % 4, r = static_cast<uint32_t>(word);
      uint32_t v = 0;
      for (uint32_t e = 0; e < 4; e++)
        v |= (static_cast<uint32_t>(r < na ? a(g + 8 * (r % 2), 4 * q + e + 16 * (r / 2))
                                           : b(4 * q + e + 16 * (r - na), g)) &
              0xff)
             << (8 * e);
      return v;
    });
  };
  for (const uint32_t depth : {16u, 32u}) {
    const auto r = depth == 32 ? run_warp(
                                     "mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32 {%d0,%d1,%d2,%d3}, "
                                     "{%a0,%a1,%a2,%a3}, {%a4,%a5}, {%d0,%d1,%d2,%d3};",
                                     byte_inputs(32), 6)
                               : run_warp(
                                     "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%d0,%d1,%d2,%d3}, {%a0,%a1}, "
                                     "{%a2}, {%d0,%d1,%d2,%d3};",
                                     byte_inputs(16), 3);
    for (uint32_t word = 0; word < 4; word++)
      expect(r, static_cast<int>(word), [&](uint32_t l) {
        const uint32_t m = l / 4 + 8 * (word / 2), n = 2 * (l % 4) + word % 2;
        return static_cast<uint32_t>(want(m, n, depth) - c(m, n));
      });
  }
}

TEST_CASE("mma adds to C, in place or not, and u8 is not s8") {
  // A = 0: the result is C.
  auto r = run_warp(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%d0,%d1,%d2,%d3}, {0,0,0,0}, {%a0,%a0}, {%a0,%a1,%a2,%a3};",
      lanes(4, [](int w, uint32_t l) { return f32(static_cast<float>(100 * w) + static_cast<float>(l)); }), 4);
  for (int w = 0; w < 4; w++)
    expect(r, w, [&](uint32_t l) { return f32(static_cast<float>(100 * w) + static_cast<float>(l)); });
  // One byte 255 in A[0][0], one 2 in B[0][0].
  const auto in = lanes(1, [](int, uint32_t l) { return l == 0 ? 255u : 0u; });
  const std::string tail = " {%d0,%d1,%d2,%d3}, {%a0,0}, {%t}, {%d0,%d1,%d2,%d3};";
  r = run_warp("setp.eq.u32 %p, %l, 0; selp.u32 %t, 2, 0, %p; mma.sync.aligned.m16n8k16.row.col.s32.u8.s8.s32" + tail,
               in, 1);
  CHECK(r[0] == 510);
  r = run_warp("setp.eq.u32 %p, %l, 0; selp.u32 %t, 2, 0, %p; mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32" + tail,
               in, 1);
  CHECK(r[0] == static_cast<uint32_t>(-2));
}

TEST_CASE("cp.async: data is there after the wait, zeros where fewer bytes are read, and not before") {
  const std::string start = "mov.u32 %t, s; mad.lo.u32 %t, %l, 4, %t; ";
  auto r = run_warp(start +
                        "cp.async.ca.shared.global [%t], [%i], 4; cp.async.commit_group; cp.async.wait_group 0; "
                        "ld.shared.u32 %d0, [%t];",
                    identity, 1);
  expect(r, 0, [](uint32_t l) { return l * 10; });
  r = run_warp(start + "cp.async.ca.shared.global [%t], [%i], 4; cp.async.wait_all; ld.shared.u32 %d0, [%t];", identity,
               1);
  expect(r, 0, [](uint32_t l) { return l * 10; });
  r = run_warp(start +
                   "cp.async.ca.shared.global [%t], [%i], 4, 2; cp.async.commit_group; cp.async.wait_group 0; "
                   "ld.shared.u32 %d0, [%t];",
               lanes(1, [](int, uint32_t) { return 0x12345678; }), 1);
  expect(r, 0, [](uint32_t) { return 0x5678; });
  r = run_warp(start +
                   "and.b32 %a9, %l, 1; shl.b32 %a9, %a9, 2; cp.async.ca.shared.global [%t], [%i], 4, %a9; "
                   "cp.async.commit_group; cp.async.wait_group 0; ld.shared.u32 %d0, [%t];",
               identity, 1);
  expect(r, 0, [](uint32_t l) { return l % 2 ? l * 10 : 0; });
  // Two groups; one may be open.
  const std::string two = start +
                          "cp.async.ca.shared.global [%t], [%i], 4; cp.async.commit_group; cp.async.ca.shared.global "
                          "[%t+128], [%i+128], 4; cp.async.commit_group; ";
  const auto in = lanes(2, [](int w, uint32_t l) { return l + 100 * static_cast<uint32_t>(w); });
  r = run_warp(
      two + "cp.async.wait_group 1; ld.shared.u32 %d0, [%t]; cp.async.wait_group 0; ld.shared.u32 %d1, [%t+128];", in,
      2);
  expect(r, 0, [](uint32_t l) { return l; });
  expect(r, 1, [](uint32_t l) { return l + 100; });
  CHECK(fault_of(start + "cp.async.ca.shared.global [%t], [%i], 4; cp.async.commit_group; ld.shared.u32 %d0, [%t];") ==
        "cp.async");
  CHECK(fault_of(start + "cp.async.ca.shared.global [%t], [%i], 4; cp.async.commit_group; cp.async.wait_group 1; "
                         "ld.shared.u32 %d0, [%t];") == "cp.async");
  CHECK(fault_of(start + "cp.async.ca.shared.global [%t], [%i], 4; cp.async.wait_group 0; ld.shared.u32 %d0, [%t];") ==
        "cp.async");
  CHECK(fault_of(start + "cp.async.cg.shared.global [%t], [%i], 16; cp.async.wait_all;") == "misaligned access");
}
