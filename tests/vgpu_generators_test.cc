// nvcc has two code generators, one up to sm_90 and one from sm_100 on: the sample kernels of bench/vgpu_kernels.cu
// give the same results from the PTX of both. (vgpu_architectures_test.sh checks those of sm_80 against the CPU.)
#include "vgpu/machine.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "tests/vgpu_fixture.h"
#include "tests/vgpu_nvcc.h"

using namespace vgpu_test;

namespace {

// A kernel by the part of its name that is not mangled.
const char* named(vgpu::Module& module, const std::string& part, std::string& storage) {
  for (const std::string& name : module.kernel_names())
    if (name.find(part) != name.npos) {
      storage = name;
      return storage.c_str();
    }
  throw std::runtime_error("no kernel " + part);
}

std::vector<float> run_all(const std::string& ptx) {
  Gpu gpu;
  auto& module = gpu.machine.load(ptx);
  std::string name;
  std::vector<float> x(64 * 256), all;
  for (size_t i = 0; i < x.size(); i++) x[i] = std::sin(static_cast<float>(i)) * 0.7f;
  std::vector<uint16_t> halves(x.size());
  for (size_t i = 0; i < x.size(); i++) halves[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(x[i]) >> 16);
  float* dx = gpu.upload(x);
  uint16_t* dh = gpu.upload(halves);
  const auto keep = [&](const float* y, size_t n) { all.insert(all.end(), y, y + n); };
  float* y = gpu.upload(std::vector<float>(64 * 256, 0.f));
  gpu.launch(module, named(module, "gelu_map", name), {4}, {256}, 0, dx, y, 1000);
  keep(y, 4000);
  gpu.launch(module, named(module, "softmax_rows", name), {16}, {256}, 0, dx, y, 1000);
  keep(y, 16000);
  gpu.launch(module, named(module, "layer_norm_forward", name), {4}, {128}, 0, dx, dx, dx, y, 16, 768);
  keep(y, 16 * 768);
  float* sums = gpu.upload(std::vector<float>(768, 0.f));
  gpu.launch(module, named(module, "column_sums", name), {4}, {256}, 0, dx, sums, 16, 768);
  keep(sums, 768);
  gpu.launch(module, named(module, "sgemm_64", name), {1}, {256}, 0, dx, dx, y, 64, 64, 256);
  keep(y, 4096);
  gpu.launch(module, named(module, "hgemm_mma", name), {1}, {128}, 0, dh, dh, y, 64, 64, 256);
  keep(y, 4096);
  gpu.launch(module, named(module, "flash_causal", name), {2}, {64}, 0, dx, dx, dx, y, 128);
  keep(y, 8192);
  CHECK(gpu.warnings.empty());
  return all;
}

}  // namespace

TEST_CASE("PTX of every code generator gives the same results") {
  if (find_nvcc().empty()) {
    MESSAGE("SKIPPED: nvcc was not found");
    return;
  }
  const std::string source = std::string(WEFT_TESTS) + "/../bench/vgpu_kernels.cu";
  const std::vector<float> want = run_all(compile(source, 80));
  for (const int arch : {100, 120}) {
    CAPTURE(arch);
    const std::vector<float> got = run_all(compile(source, arch));
    REQUIRE(got.size() == want.size());
    double worst = 0;
    for (size_t i = 0; i < want.size(); i++) {
      const double e = std::fabs(got[i] - want[i]) / (1 + std::fabs(want[i]));
      if (!(e <= worst)) worst = e;
    }
    CHECK(worst < 1e-5);
  }
}
