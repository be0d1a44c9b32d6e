// Tables of single instructions: operands in, the result wanted.
#pragma once

#include <doctest/doctest.h>

#include <bit>
#include <initializer_list>
#include <string>

#include "tests/vgpu_fixture.h"

namespace vgpu_test {

// Registers of a case: %a %b %c %d of 32 bits, %A %B %C %D of 64, %ha %hb %hc %hd of 16, predicates %p %q. The result
// is what is left in the register that `result` names; for %p it is 1 or 0.
inline std::string kernel_of(const std::string& body, const std::string& result) {
  std::string store;
  if (result == "p") {
    store = "selp.b64 %D, 1, 0, %p;";
  } else if (result == "d") {
    store = "cvt.u64.u32 %D, %d;";
  } else if (result == "hd") {
    store = "cvt.u64.u16 %D, %hd;";
  }
  return std::string(ptx_header) + R"(
.visible .entry k(.param .u64 in, .param .u64 out)
{
  .reg .pred %p, %q; .reg .b16 %ha, %hb, %hc, %hd; .reg .b32 %a, %b, %c, %d, %t; .reg .b64 %A, %B, %C, %D, %i, %o;
  ld.param.u64 %i, [in]; ld.param.u64 %o, [out];
  ld.global.u64 %A, [%i]; ld.global.u64 %B, [%i+8]; ld.global.u64 %C, [%i+16];
  cvt.u32.u64 %a, %A; cvt.u32.u64 %b, %B; cvt.u32.u64 %c, %C;
  cvt.u16.u64 %ha, %A; cvt.u16.u64 %hb, %B; cvt.u16.u64 %hc, %C;
  mov.u32 %d, 0xdeadbeef; mov.u64 %D, 0xdeadbeefdeadbeef; mov.u16 %hd, 0xdead;
  setp.ne.u32 %p, 0, 0; setp.ne.u32 %q, 0, 0;
  )" + body +
         "\n  " + store + R"(
  st.global.u64 [%o], %D;
  ret;
})";
}

inline uint64_t run_case(const std::string& body, const std::string& result, uint64_t a, uint64_t b, uint64_t c) {
  vgpu::Options options;
  options.threads = 1;
  Gpu gpu(options);
  auto* in = gpu.upload(std::vector<uint64_t>{a, b, c});
  auto* out = gpu.allocate<uint64_t>(1);
  gpu.launch(gpu.machine.load(kernel_of(body, result)), "k", {1}, {1}, 0, in, out);
  return *out;
}

struct Case {
  const char* body;
  const char* result;
  uint64_t a, b, c, want;
};

inline void check(std::initializer_list<Case> cases) {
  for (const Case& k : cases) {
    CAPTURE(k.body);
    CAPTURE(k.a);
    CAPTURE(k.b);
    CAPTURE(k.c);
    uint64_t got = 0;
    CHECK_NOTHROW(got = run_case(k.body, k.result, k.a, k.b, k.c));
    CHECK_MESSAGE(got == k.want, std::hex, got, " but want ", k.want);
  }
}

inline std::string refusal(const std::string& body) {
  try {
    run_case(body, "d", 0, 0, 0);
  } catch (const vgpu::Fault& f) {
    return f.report.kind == "unsupported instruction" ? f.report.text : "another fault: " + f.report.text;
  }
  return "(it ran)";
}

inline uint64_t f(float v) { return std::bit_cast<uint32_t>(v); }
inline uint64_t d(double v) { return std::bit_cast<uint64_t>(v); }
constexpr uint64_t nan32 = 0x7fffffff, inf32 = 0x7f800000, minus_inf32 = 0xff800000;
constexpr uint64_t all32 = 0xffffffff, all64 = ~uint64_t{0};

}  // namespace vgpu_test
