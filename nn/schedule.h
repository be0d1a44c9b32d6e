// Learning rates as functions of the step, counted from 0.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "tensor/check.h"

namespace weft {

/// Rises linearly over `warm_up` steps, the first of which already moves: peak (step + 1) / warm_up; then constant or
/// falling.
struct Schedule {
  enum class Kind { constant, cosine };
  Kind kind = Kind::constant;
  double peak = 1e-3;
  int64_t warm_up = 0;
  int64_t steps = 0;  // of the whole training; needed by cosine
  double floor = 0;   // where cosine ends

  double at(int64_t step) const {
    check(step >= 0, "[schedule] the step must be at least 0 but is {}", step);
    if (step < warm_up) return peak * static_cast<double>(step + 1) / static_cast<double>(warm_up);
    if (kind == Kind::constant) return peak;
    check(steps > warm_up, "[schedule] cosine needs more steps than the {} of warm-up but has {}", warm_up, steps);
    const double done = std::min(1.0, static_cast<double>(step - warm_up) / static_cast<double>(steps - warm_up));
    return floor + (peak - floor) * 0.5 * (1 + std::cos(std::numbers::pi * done));
  }
};

}  // namespace weft
