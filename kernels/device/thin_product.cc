// A step takes a few rows of x by a few of w along their whole length, its sums in registers. All rows of x pass by a
// few of w, which the first of them brings from memory and which stay in the first cache for the others.
#include "kernels/device/thin_product.h"

#include <algorithm>
#include <cstring>

#include "kernels/device/parallel.h"
#include "kernels/device/unit_vector.h"

namespace weft {

namespace {

constexpr int most_rows = 6;  // of x in a step

// The sums of the lanes of 4 vectors.
[[gnu::always_inline]] inline void add_lanes(const Vector* v, float* to) {
  typedef float Eight __attribute__((vector_size(32)));
  typedef int Places __attribute__((vector_size(32)));
  const auto eight = [](const Vector& x) {
    Eight parts[lanes / 8];
    std::memcpy(parts, &x, sizeof(x));
    for (int i = 1; i < lanes / 8; ++i) parts[0] += parts[i];
    return parts[0];
  };
  const auto pairs = [](Eight a, Eight b) {
    return __builtin_shuffle(a, b, Places{0, 8, 2, 10, 4, 12, 6, 14}) + __builtin_shuffle(a, b, Places{1, 9, 3, 11, 5, 13, 7, 15});
  };
  const Eight a = pairs(eight(v[0]), eight(v[1])), b = pairs(eight(v[2]), eight(v[3]));
  const Eight halves = __builtin_shuffle(a, b, Places{0, 1, 8, 9, 4, 5, 12, 13}) + __builtin_shuffle(a, b, Places{2, 3, 10, 11, 6, 7, 14, 15});
  for (int i = 0; i < 4; ++i) to[i] = halves[i] + halves[4 + i];
}

// y [R, C] (rows n apart) = x [R, k] w [C, k]^T + bias. Of w the C rows behind are fetched where `ahead` is set.
template <int R, int C>
[[gnu::noinline]] void multiply_rows_of(const float* x, const float* w, const float* bias, bool ahead, float* y, int64_t n, int64_t k) {
  constexpr int sums = R * C, groups = (sums + 3) / 4;
  constexpr int64_t line = 64 / sizeof(float);
  Vector sum[groups * 4] = {};
  const auto step = [&](int64_t i) __attribute__((always_inline)) {
    // Of rows and columns the fewer wait in registers, the others come one at a time.
    if constexpr (R < C) {
      Vector from_x[R];
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) from_x[r] = in_register(load(x + r * k + i));
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        const Vector from_w = in_register(load(w + c * k + i));
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) sum[r * C + c] += from_x[r] * from_w;
      }
    } else {
      Vector from_w[C];
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) from_w[c] = in_register(load(w + c * k + i));
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) {
        const Vector from_x = in_register(load(x + r * k + i));
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum[r * C + c] += from_x * from_w[c];
      }
    }
  };
  int64_t i = 0;
  for (; i + line <= k; i += line) {
    if (ahead) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) __builtin_prefetch(w + (C + c) * k + i);
    }
#pragma GCC unroll 2
    for (int64_t part = 0; part < line; part += lanes) step(i + part);
  }
  for (; i + lanes <= k; i += lanes) step(i);
  float total[groups * 4];
#pragma GCC unroll 4
  for (int g = 0; g < groups; ++g) add_lanes(sum + 4 * g, total + 4 * g);
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      float t = total[r * C + c];
      for (int64_t rest = i; rest < k; ++rest) t += x[r * k + rest] * w[c * k + rest];
      y[r * n + c] = bias ? t + bias[c] : t;
    }
  }
}

// The same for 1 to R rows.
template <int R, int C>
void multiply_up_to(int64_t rows, const float* x, const float* w, const float* bias, bool ahead, float* y, int64_t n, int64_t k) {
  if constexpr (R > 0) {
    if (rows == R) return multiply_rows_of<R, C>(x, w, bias, ahead, y, n, k);
    multiply_up_to<R - 1, C>(rows, x, w, bias, ahead, y, n, k);
  }
}

// All rows of x by columns [begin, end) of y, C at a time: `groups` groups of rows, as equal as can be.
template <int R, int C>
int64_t multiply_columns(const float* x, const float* w, const float* bias, float* y, int64_t m, int64_t n, int64_t k, int64_t begin,
                         int64_t end) {
  const int64_t groups = (m + R - 1) / R;
  for (; begin + C <= end; begin += C) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = m * g / groups, rows = m * (g + 1) / groups - first;
      multiply_up_to<R, C>(rows, x + first * k, w + begin * k, bias ? bias + begin : nullptr, g == 0 && begin + 2 * C <= end,
                           y + first * n + begin, n, k);
    }
  }
  return begin;
}

}  // namespace

// Up to 24 rows this is faster than the panels of product.cc. But their sums have another order, so that at the limit the size
// of a batch can change an item's last bits; with 16 the pixels of an image, 4 x 4 of them or more, are always on one side of it.
bool thin_product_takes(int64_t m, int64_t n, int64_t k) {
  return fused && m >= 1 && m < 16 && n >= 8 && k >= 8;
}

void thin_product(const float* x, const float* w, const float* bias, float* y, int64_t m, int64_t n, int64_t k) {
  // 8 sums at least, so that none waits for the one before; 12 at most, so that all are in registers.
  parallel_for(n, std::max<int64_t>(1, elements_grain / k), [&](int64_t begin, int64_t end) {
    if (m == 1) {
      begin = multiply_columns<1, 8>(x, w, bias, y, m, n, k, begin, end);
    } else if (m <= 3) {
      begin = multiply_columns<3, 4>(x, w, bias, y, m, n, k, begin, end);
    }
    begin = multiply_columns<most_rows, 2>(x, w, bias, y, m, n, k, begin, end);
    multiply_columns<most_rows, 1>(x, w, bias, y, m, n, k, begin, end);
  });
}

}  // namespace weft
