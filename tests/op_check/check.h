// The three things that op_check does with a room.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "op_check/op_case.h"

namespace weft::op_check {

struct TestResult {
  std::vector<std::string> failures;  // one line each
  std::vector<std::string> skipped;   // cases that the device has no kernel for, one line each
};

/// Every case in f32 and bf16 on `device`, forward and backward, against the f64 truth of the cpu; planted errors; misuses.
TestResult test(const Op& op, uint64_t seed, Device device);
/// The f64 backward of every case against central differences. One line a failure.
std::vector<std::string> grad(const Op& op, uint64_t seed);
/// Prints a line for every bench of the op: the best time, and how it compares with a copy or with the library's call (on cuda
/// cuBLAS or cuDNN, on cpu oneDNN) in the same run.
void bench(const Op& op, double seconds, Device device);

}  // namespace weft::op_check
