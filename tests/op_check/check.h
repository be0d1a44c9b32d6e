// The three things that op_check does with a room.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "op_check/op_case.h"

namespace weft::op_check {

/// Every case in f32 and bf16, forward and backward, against the f64 truth; planted errors; misuses. One line a failure.
std::vector<std::string> test(const Op& op, uint64_t seed);
/// The f64 backward of every case against central differences. One line a failure.
std::vector<std::string> grad(const Op& op, uint64_t seed);
/// Prints a line for every bench of the op.
void bench(const Op& op, double seconds);

}  // namespace weft::op_check
