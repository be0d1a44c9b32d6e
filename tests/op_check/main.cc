// op_check [test|grad|bench|list] [-o OP]: every room against f64 truth, against central differences, against the machine's ceiling.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <random>

#include "kernels/device/doors.h"
#include "kernels/device/waiting.h"
#include "op_check/check.h"

using namespace weft::op_check;

namespace {
std::string mode = "test", only;
uint64_t seed = 0;

std::string device_name = "cpu";

template <class F> void for_ops(F&& run) {
  INFO("repeat with --seed ", seed);
  int count = 0;
  for (const Op& op : ops()) {
    if (!only.empty() && op.name != only) continue;
    ++count;
    CHECK_MESSAGE((!op.cases.empty() || !op.misuses.empty()), op.name, " has no cases");
    for (const std::string& failure : run(op)) FAIL_CHECK(failure);
  }
  CHECK_MESSAGE(count > 0, "no op is named '", only, "'");
}
}  // namespace

TEST_CASE("test") {
  const weft::Device device = weft::device_from_name(device_name);
  size_t skipped = 0;
  for_ops([&](const Op& op) {
    TestResult result = test(op, seed, device);
    for (const std::string& line : result.skipped) fmt::print("SKIPPED {}\n", line);
    skipped += result.skipped.size();
    return std::move(result.failures);
  });
  if (device != weft::Device::cpu) fmt::print("{} cases SKIPPED on {}\n", skipped, device);
}
TEST_CASE("grad") {
  for_ops([](const Op& op) { return grad(op, seed); });
}

int main(int argc, char** argv) {
  weft::set_spinning(argv);
  CLI::App app{"Checks and times every op.\nExample: op_check grad -o softmax"};
  double seconds = 0.2;
  app.add_option("mode", mode, "test: f32 and bf16 against f64; grad: f64 against central differences; bench; list")
      ->check(CLI::IsMember({"test", "grad", "bench", "list"}));
  app.add_option("-o,--op", only, "one op only");
  app.add_option("--device", device_name, "test: where f32 and bf16 run, the f64 truth being the cpu's; bench: what is timed")->check(CLI::IsMember({"cpu", "cuda"}))->capture_default_str();
  std::string gemm = "own", conv = "own";
  app.add_option("--gemm", gemm, "own or cublas: products on device cuda");
  app.add_option("--conv", conv, "own or cudnn: convolutions on device cuda");
  app.add_option("--seed", seed, "of the inputs; a fresh one every run unless given, printed on failure");
  app.add_option("--seconds", seconds, "of timing for each line of bench");
  CLI11_PARSE(app, argc, argv);
  const weft::WaitingWatch watch(omp_get_max_threads());
  try {
    weft::choose_gemm(gemm);
    weft::choose_conv(conv);
    if (mode == "bench") {
      const weft::Device device = weft::device_from_name(device_name);
      for (const Op& op : ops()) {
        if (only.empty() || op.name == only) bench(op, seconds, device);
      }
      return 0;
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
  if (app.count("--seed") == 0) seed = std::random_device{}();

  if (mode == "list") {
    for (const Op& op : ops()) {
      if (!only.empty() && op.name != only) continue;
      fmt::print("{:<20} {:3} cases {:3} benches {:3} misuses\n", op.name, op.cases.size(), op.benches.size(), op.misuses.size());
    }
    return 0;
  }
  doctest::Context context;
  context.setOption("test-case", mode.c_str());
  return context.run();
}
