// CUDA's maths functions as nvcc compiles them, run on the virtual GPU, against glibc in double; 64-bit and 128-bit
// integer arithmetic.
#include "vgpu/machine.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/vgpu_fixture.h"
#include "tests/vgpu_nvcc.h"

using namespace vgpu_test;

namespace {

struct Function {
  const char* name;
  double (*f)(double, double);
  double bound;
};

using R = double;
const Function functions[] = {
#define VGPU_F(name, expression, bound) \
  {#name,                               \
   [](double x, double y) {             \
     using namespace std;               \
     (void)x;                           \
     (void)y;                           \
     return double(expression);         \
   },                                   \
   bound},
#include "tests/vgpu_maths.inc"
#undef VGPU_F
};
constexpr int count = static_cast<int>(std::size(functions)), n = 1024;

uint64_t mix(uint64_t v) {
  v = (v ^ v >> 31) * 0x9e3779b97f4a7c15ull;
  return v ^ v >> 29;
}

}  // namespace

TEST_CASE("maths functions agree with glibc within CUDA's documented error") {
  if (find_nvcc().empty()) {
    MESSAGE("SKIPPED: nvcc was not found");
    return;
  }
  for (const int arch : {80, 120}) {
    Gpu gpu;
    auto& module = gpu.machine.load(compile(std::string(WEFT_TESTS) + "/vgpu_maths.cu", arch));
    std::vector<float> x(n), y(n);
    for (int i = 0; i < n; i++) {
      x[static_cast<size_t>(i)] = static_cast<float>(i - n / 2) / 64.f + 0.0037f;
      y[static_cast<size_t>(i)] = 0.25f + static_cast<float>(i * 37 % n) / 256.f;
    }
    auto *dx = gpu.upload(x), *dy = gpu.upload(y);
    auto* single = gpu.allocate<float>(n * count);
    auto* whole = gpu.allocate<double>(n * count);
    gpu.launch(module, "maths_f32", {n / 128}, {128}, 0, dx, dy, single, count);
    gpu.launch(module, "maths_f64", {n / 128}, {128}, 0, dx, dy, whole, count);
    for (int k = 0; k < count; k++) {
      double worst = 0, worst_double = 0;
      int at = 0;
      for (int i = 0; i < n; i++) {
        const double a = x[static_cast<size_t>(i)], b = y[static_cast<size_t>(i)], want = functions[k].f(a, b);
        const double scale = std::fabs(want) + 1e-30;
        const double e = std::fabs(single[i * count + k] - want) / scale,
                     ed = std::fabs(whole[i * count + k] - want) / scale;
        if (!(e <= worst)) worst = e, at = i;
        if (!(ed <= worst_double)) worst_double = ed;
      }
      CAPTURE(arch);
      CAPTURE(functions[k].name);
      CAPTURE(x[static_cast<size_t>(at)]);
      CAPTURE(y[static_cast<size_t>(at)]);
      CHECK(worst <= functions[k].bound);
      CHECK(worst_double <= 1e-13);
    }
  }
}

TEST_CASE("integer arithmetic of 32, 64 and 128 bits") {
  if (find_nvcc().empty()) {
    MESSAGE("SKIPPED: nvcc was not found");
    return;
  }
  Gpu gpu;
  auto& module = gpu.machine.load(compile(std::string(WEFT_TESTS) + "/vgpu_maths.cu", 80));
  auto* out = gpu.allocate<uint64_t>(n * 8);
  gpu.launch(module, "integers", {n / 128}, {128}, 0, out);
  for (uint64_t i = 0; i < n; i++) {
    const uint64_t a = mix(i + 1), b = mix(i + 1000) >> (i % 60) | 1;
    const uint64_t* o = out + i * 8;
    CAPTURE(i);
    CHECK(o[0] == a / b);
    CHECK(o[1] == a % b);
    CHECK(o[2] == static_cast<uint64_t>(static_cast<int64_t>(a) / static_cast<int64_t>(b)));
    CHECK(o[3] == static_cast<uint64_t>(static_cast<int64_t>(a) % static_cast<int64_t>(b)));
    CHECK(o[4] == static_cast<uint32_t>(a) / static_cast<uint32_t>(b));
    CHECK(o[5] == static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(a) % static_cast<int32_t>(b | 2))));
    CHECK(o[6] == static_cast<uint64_t>((static_cast<unsigned __int128>(a) * b) >> 64));
    CHECK(o[7] == static_cast<uint64_t>((static_cast<unsigned __int128>(a) << 64 | b) / (b >> 1 | 3)));
  }
}
