// Blocks of threads with shared memory and mbarriers, for tests of what goes on beside the threads.
#pragma once

#include <string>
#include <vector>

#include "tests/vgpu_fixture.h"

namespace vgpu_test {

// A kernel around `body`: thread %l, global memory %in, shared memory from %s on (1,024-byte aligned, 64 KiB),
// mbarriers at `bar` (64 of them). Thread l's results are %d0..%d3.
inline std::string block_kernel(const std::string& body, const std::string& target = "sm_90a") {
  return ".version 9.0\n.target " + target + R"(
.address_size 64
.visible .entry k(.param .u64 in, .param .u64 out)
{
  .reg .pred %p, %q; .reg .b32 %d<4>, %l, %t, %i, %e, %x, %y, %s; .reg .b64 %in, %o, %S, %T, %A, %B; .reg .b16 %h;
  .shared .align 1024 .b8 s[65536]; .shared .align 8 .b8 bar[512];
  ld.param.u64 %in, [in]; ld.param.u64 %o, [out]; mov.u32 %s, s;
  mov.u32 %l, %tid.x; mov.u32 %d0, 0; mov.u32 %d1, 0; mov.u32 %d2, 0; mov.u32 %d3, 0;
)" + body +
         R"(
  mad.wide.u32 %o, %l, 16, %o; st.global.v4.u32 [%o], {%d0, %d1, %d2, %d3};
  ret;
})";
}

inline std::vector<uint32_t> run_block(const std::string& body, uint32_t threads, const std::vector<uint32_t>& in = {},
                                       uint64_t schedule = 0) {
  vgpu::Options options;
  options.threads = 1;
  options.schedule = schedule;
  options.max_shared_per_block = 227 * 1024;
  Gpu gpu(options);
  auto* din = gpu.upload(in.empty() ? std::vector<uint32_t>(4) : in);
  auto* out = gpu.allocate<uint32_t>(4 * threads);
  gpu.launch(gpu.machine.load(block_kernel(body)), "k", {1}, {threads}, 0, din, out);
  return {out, out + 4 * threads};
}

inline std::string fault_of(const std::string& body, uint32_t threads, const std::vector<uint32_t>& in = {}) {
  try {
    run_block(body, threads, in);
  } catch (const vgpu::Fault& f) {
    return f.report.kind;
  }
  return "(none)";
}

// The text of the refusal; empty where it was not refused.
inline std::string refusal_of(const std::string& body) {
  try {
    run_block(body, 1);
  } catch (const vgpu::Fault& f) {
    return f.report.kind == "unsupported instruction" ? f.report.text : "";
  }
  return "";
}

}  // namespace vgpu_test
