// wgmma: products of small integers, exact in every type, for each layout of the operands; and what is reported.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <string>

#include "tests/vgpu_fixture.h"
#include "vgpu/machine.h"

using namespace vgpu_test;

namespace {

int a_of(uint32_t m, uint32_t k) { return static_cast<int>((m * 131 + k * 7 + 3) * 2654435761u >> 13) % 8 - 4; }
int b_of(uint32_t k, uint32_t n) { return static_cast<int>((k * 17 + n * 29 + 5) * 2654435761u >> 13) % 8 - 3; }

uint16_t half_bits(int v, bool bf) {
  return bf ? static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(v)) >> 16)
            : std::bit_cast<uint16_t>(static_cast<_Float16>(v));
}

// Where the bytes of an operand lie; `mn` and `k` count elements of `bytes`. The atoms of the PTX ISA's figures: eight
// lines of 16, 32, 64 or 128 bytes, whose 16-byte chunks are exchanged by the number of the 128-byte line.
struct Layout {
  uint32_t swizzle;  // 16: none
  bool mn_major;
  uint32_t leading, stride;  // bytes
  uint32_t start = 0;
  bool own_pattern = false;  // the exchange begins with the operand, not at a multiple of its period

  uint32_t place(uint32_t mn, uint32_t k, uint32_t bytes) const {
    const uint32_t along = (mn_major ? mn : k) * bytes, across = mn_major ? k : mn;
    uint32_t at = across % 8 * swizzle + along % swizzle;
    if (mn_major) {
      // Without a swizzle the roles of the two strides are exchanged.
      at +=
          swizzle == 16 ? along / 16 * stride + across / 8 * leading : along / swizzle * leading + across / 8 * stride;
    } else {
      at += across / 8 * stride + along / swizzle * leading;  // along < 32: the leading offset counts without a swizzle
    }
    const uint32_t line = ((own_pattern ? 0 : start) + at) / 128;
    return start + (at ^ (line % 8 % (swizzle / 16) * 16));
  }
  uint64_t descriptor(uint32_t shared) const {
    const uint64_t mode = swizzle == 128 ? 1 : swizzle == 64 ? 2 : swizzle == 32 ? 3 : 0;
    return (shared + start) >> 4 | uint64_t{leading >> 4} << 16 | uint64_t{stride >> 4} << 32 | mode << 62 |
           (own_pattern ? uint64_t{(shared + start) >> 7 & 7} << 49 : 0);
  }
};

struct Product {
  std::string types = "f32.bf16.bf16";
  uint32_t n = 16, depth = 16, bytes = 2;
  Layout a{128, false, 16, 1024}, b{128, false, 16, 1024};
  bool a_in_registers = false;
  std::string tail = "p, 1, 1, 0, 0";                                   // scale-d and what follows
  std::string before = "", after = "wgmma.wait_group.sync.aligned 0;";  // around the product
  std::string fence = "fence.proxy.async.shared::cta; bar.sync 0; wgmma.fence.sync.aligned;";
};

void put(std::vector<uint8_t>& image, uint32_t at, int v, const Product& p) {
  if (p.bytes == 4) {
    const uint32_t word = std::bit_cast<uint32_t>(static_cast<float>(v)) | 0x1fff;  // tf32 ignores the low bits
    std::memcpy(&image.at(at), &word, 4);
  } else if (p.bytes == 2) {
    const uint16_t h = half_bits(v, p.types.find("bf16") != std::string::npos);
    std::memcpy(&image.at(at), &h, 2);
  } else {
    image.at(at) = static_cast<uint8_t>(v);
  }
}

constexpr uint32_t b_at = 16384;

// Registers of D of all 128 threads; they are 100 + the register's number (of type s32 or f32) before.
std::vector<uint32_t> run(const Product& p) {
  const bool half = p.types.starts_with("f16"), integer = p.types.find("s32") != std::string::npos;
  const uint32_t registers = p.n / (half ? 4 : 2);
  std::vector<uint8_t> image(32768);
  for (uint32_t m = 0; m < 64; m++)
    for (uint32_t k = 0; k < p.depth; k++) put(image, p.a.place(m, k, p.bytes), a_of(m, k), p);
  for (uint32_t n = 0; n < p.n; n++)
    for (uint32_t k = 0; k < p.depth; k++) put(image, b_at + p.b.place(n, k, p.bytes), b_of(k, n), p);
  std::string d, c, init, store;
  for (uint32_t i = 0; i < registers; i++) {
    d += (i ? ", %d" : "%d") + std::to_string(i);
    init += "mov.b32 %d" + std::to_string(i) + ", " +
            std::to_string(half      ? 0
                           : integer ? 100 + i
                                     : std::bit_cast<uint32_t>(100.f + static_cast<float>(i))) +
            ";\n";
    store += "st.global.b32 [%o+" + std::to_string(4 * i) + "], %d" + std::to_string(i) + ";\n";
  }
  std::string fragments;
  if (p.a_in_registers) {
    // Register r: row 16 warp + g + 8 (r % 2), bytes from 4 q + 16 (r / 2) on of the row's 32, from a K-major image.
    for (uint32_t r = 0; r < 4; r++)
      fragments += "shr.u32 %t, %l, 2; and.b32 %t, %t, 7; add.u32 %t, %t, " + std::to_string(8 * (r % 2)) +
                   "; shr.u32 %x, %l, 5; mad.lo.u32 %t, %x, 16, %t; and.b32 %x, %l, 3; mul.lo.u32 %x, %x, 4; "
                   "mad.lo.u32 %x, %t, 32, %x; add.u32 %x, %x, %f; ld.shared.b32 %a" +
                   std::to_string(r) + ", [%x+" + std::to_string(16 * (r / 2)) + "];\n";
  }
  const std::string text = R"(.version 9.0
.target sm_90a
.address_size 64
.visible .entry k(.param .u64 in, .param .u64 out, .param .u64 pa, .param .u64 pb)
{
  .reg .pred %p, p; .reg .b32 %d<128>, %l, %t, %x, %f, %a<4>, %v; .reg .b64 %in, %o, da, db;
  .shared .align 1024 .b8 s[34816];
  ld.param.u64 %in, [in]; ld.param.u64 %o, [out]; ld.param.u64 da, [pa]; ld.param.u64 db, [pb];
  mov.u32 %l, %tid.x; mov.u32 %f, s; add.u32 %f, %f, 32768;
  mov.u32 %x, s; mad.lo.u32 %x, %l, 16, %x; mad.wide.u32 %in, %l, 16, %in; mov.u32 %t, 0;
L: ld.global.v4.b32 {%a0, %a1, %a2, %a3}, [%in]; st.shared.v4.b32 [%x], {%a0, %a1, %a2, %a3};
  add.u32 %x, %x, 2048; add.u64 %in, %in, 2048; add.u32 %t, %t, 1; setp.lt.u32 %p, %t, 17; @%p bra L;
  bar.sync 0;
  )" + fragments + init + "setp.ne.u32 p, 1, 0;\n" +
                           p.fence + "\n" + p.before + "\nwgmma.mma_async.sync.aligned.m64n" + std::to_string(p.n) +
                           "k" + std::to_string(p.depth) + "." + p.types + " {" + d + "}, " +
                           (p.a_in_registers ? "{%a0, %a1, %a2, %a3}" : "da") + ", db, " + p.tail +
                           ";\nwgmma.commit_group.sync.aligned;\n" + p.after + "\nmad.wide.u32 %o, %l, " +
                           std::to_string(4 * registers) + ", %o;\n" + store + "ret;\n}";
  // Fragments are read from a plain image of A, rows of 32 bytes, behind the two operands.
  std::vector<uint8_t> plain(2048);
  for (uint32_t m = 0; m < 64; m++)
    for (uint32_t k = 0; k < p.depth; k++) put(plain, m * 32 + k * p.bytes, a_of(m, k), p);
  image.insert(image.end(), plain.begin(), plain.end());
  vgpu::Options options;
  options.threads = 1;
  Gpu gpu(options);
  auto* in = gpu.upload(image);
  auto* out = gpu.allocate<uint32_t>(128 * registers);
  gpu.launch(gpu.machine.load(text), "k", {1}, {128}, 0, in, out, p.a.descriptor(0), p.b.descriptor(b_at));
  return {out, out + 128 * registers};
}

// Compares with the definition: register 4j + r of thread l has row 16 warp + g + 8 (r / 2), column 8 j + 2 q + r % 2.
void check(const Product& p, int sign = 1, bool adds = true) {
  const bool half = p.types.starts_with("f16"), integer = p.types.find("s32") != std::string::npos;
  const std::vector<uint32_t> got = run(p);
  const uint32_t registers = p.n / (half ? 4 : 2);
  uint32_t wrong = 0;
  for (uint32_t t = 0; t < 128; t++)
    for (uint32_t m = t / 32 * 16 + t % 32 / 4, pair = 0; pair < p.n / 4; pair++)
      for (uint32_t e = 0; e < 2; e++) {
        const uint32_t row = m + 8 * (pair % 2), column = pair / 2 * 8 + 2 * (t % 4) + e;
        int want = 0;
        for (uint32_t k = 0; k < p.depth; k++) want += a_of(row, k) * b_of(k, column);
        const uint32_t number = half ? pair : 2 * pair + e, word = got[t * registers + number];
        want *= sign;
        if (adds && !half) want += 100 + static_cast<int>(number);
        const uint32_t expected = half      ? half_bits(want, false)
                                  : integer ? static_cast<uint32_t>(want)
                                            : std::bit_cast<uint32_t>(static_cast<float>(want));
        wrong += (half ? word >> (16 * e) & 0xffff : word) != expected;
      }
  CHECK(wrong == 0);
}

std::string fault_of(const Product& p) {
  try {
    run(p);
  } catch (const vgpu::Fault& f) {
    return f.report.kind;
  }
  return "(none)";
}

std::string refusal_of(const Product& p) {
  try {
    run(p);
  } catch (const vgpu::Fault& f) {
    return f.report.kind == "unsupported instruction" ? f.report.text : "";
  }
  return "";
}

}  // namespace

TEST_CASE("K-major operands under every swizzle") {
  for (const uint32_t swizzle : {16u, 32u, 64u, 128u})
    for (const uint32_t n : {8u, 24u, 64u}) {
      CAPTURE(swizzle);
      CAPTURE(n);
      Product p;
      p.n = n;
      p.a = {swizzle, false, 128, 8 * swizzle};
      p.b = {swizzle, false, swizzle == 16 ? 1024u : 16u, 8 * swizzle};
      if (swizzle == 16) p.a = {16, false, 128, 256}, p.b = {16, false, 2048, 128};
      check(p);
    }
}

TEST_CASE("an operand off the swizzle's period has a base offset") {
  Product p;
  p.a = {128, false, 16, 1024, 384, true};
  p.b = {64, false, 16, 512, 128, true};
  check(p);
  p.a.own_pattern = p.b.own_pattern = false;
  check(p);  // and one whose lines are exchanged by their addresses has none
}

TEST_CASE("M- and N-major operands under every swizzle") {
  for (const uint32_t swizzle : {16u, 32u, 64u, 128u}) {
    CAPTURE(swizzle);
    Product p;
    p.n = 128;
    p.tail = "p, 1, 1, 1, 1";
    // Blocks of 8 rows of `swizzle` bytes; the two of the depth lie side by side, those along m and n after them.
    p.a = {swizzle, true, 16 * swizzle, 8 * swizzle};
    p.b = {swizzle, true, 16 * swizzle, 8 * swizzle};
    if (swizzle == 16) p.a = {16, true, 128, 256}, p.b = {16, true, 2048, 128};
    check(p);
  }
  Product mixed;
  mixed.n = 32;
  mixed.tail = "p, 1, 1, 0, 1";
  mixed.b = {64, true, 1024, 512};
  check(mixed);
}

TEST_CASE("types, signs, scale-d, fragments of A in registers") {
  Product p;
  p.n = 40;
  p.types = "f32.f16.f16";
  check(p);
  p.types = "f16.f16.f16";
  check(p);
  p.types = "f32.bf16.bf16";
  p.tail = "p, -1, 1, 0, 0";
  check(p, -1);
  p.tail = "p, -1, -1, 0, 0";
  check(p);
  p.tail = "!p, 1, -1, 0, 0";
  check(p, -1, false);
  p.a_in_registers = true;
  p.tail = "p, 1, 1, 0";
  check(p);
  p.types = "f32.f16.f16";
  check(p);
  Product tf;
  tf.types = "f32.tf32.tf32";
  tf.depth = 8, tf.bytes = 4, tf.tail = "p, 1, 1";
  check(tf);
  tf.a_in_registers = true;
  check(tf);
  Product bytes;
  bytes.types = "s32.s8.s8";
  bytes.depth = 32, bytes.bytes = 1, bytes.tail = "p";
  check(bytes);
  bytes.types = "satfinite.s32.s8.s8";
  check(bytes);
  bytes.types = "s32.s8.s8";
  bytes.a_in_registers = true;
  check(bytes);
  Product wide;
  wide.n = 256;
  wide.b = {32, false, 16, 256};
  check(wide);
}

TEST_CASE("registers of a product in flight") {
  Product p;
  const std::string wait = p.after;
  p.after = "wgmma.wait_group.sync.aligned 1;";
  CHECK(fault_of(p) == "wgmma");  // stored too early
  p.after = "";
  CHECK(fault_of(p) == "wgmma");
  p.after = "mov.b32 %v, %d3; " + wait;  // a copy is no use
  CHECK(fault_of(p) == "(none)");
  p.after = "mov.b32 %v, %d3; add.u32 %v, %v, 1; " + wait;
  CHECK(fault_of(p) == "wgmma");
  p.after = "add.u32 %d3, %t, 1; " + wait;
  CHECK(fault_of(p) == "wgmma");
  p.after = wait;
  p.fence = "fence.proxy.async.shared::cta; bar.sync 0; wgmma.fence.sync.aligned; add.u32 %d3, %d3, 0;";
  CHECK(fault_of(p) == "wgmma");  // written after the fence
  p.fence = "fence.proxy.async.shared::cta; bar.sync 0; add.u32 %d3, %d3, 0; wgmma.fence.sync.aligned;";
  CHECK(fault_of(p) == "(none)");
  p.a_in_registers = true;
  p.tail = "p, 1, 1, 0";
  p.after = "add.u32 %v, %a1, 1; " + wait;
  CHECK(fault_of(p) == "(none)");
  p.after = "add.u32 %a1, %a1, 1; " + wait;
  CHECK(fault_of(p) == "wgmma");
}

TEST_CASE("shared memory of a product in flight") {
  Product p;
  p.fence = "bar.sync 0; wgmma.fence.sync.aligned;";
  CHECK(fault_of(p) == "async proxy");  // no fence between the stores and the product
  p.fence = "bar.sync 0; fence.proxy.async; wgmma.fence.sync.aligned;";
  CHECK(fault_of(p) == "(none)");
  const std::string store = "mov.u32 %x, s; mad.lo.u32 %x, %l, 4, %x; st.shared.b32 [%x], 0; ";
  p.after = store + "wgmma.wait_group.sync.aligned 0;";
  CHECK(fault_of(p) == "async proxy");
  p.after = "wgmma.wait_group.sync.aligned 0; " + store;  // whoever waits has waited for the whole warpgroup
  CHECK(fault_of(p) == "(none)");
  p.after = "wgmma.wait_group.sync.aligned 0; bar.sync 0; " + store;
  CHECK(fault_of(p) == "(none)");
}

TEST_CASE("what wgmma does not support is refused") {
  Product p;
  p.types = "f32.e4m3.e4m3";
  CHECK(refusal_of(p) != "");
  p.types = "f32.bf16.bf16";
  p.n = 20;
  CHECK(refusal_of(p) != "");
  p.n = 16;
  p.tail = "p, 2, 1, 0, 0";
  CHECK(refusal_of(p) != "");
  p.tail = "p, 1, 1, 0";
  CHECK(refusal_of(p) != "");
  p.tail = "p, 1, 1, 0, 0";
  p.before =
      "wgmma.mma_async.sp.sync.aligned.m64n8k32.f32.bf16.bf16 {%d0, %d1, %d2, %d3}, da, db, %x, 0, p, 1, 1, 0, 0;";
  CHECK(refusal_of(p) != "");
}
