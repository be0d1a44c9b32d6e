// Rows written through RowWriter hold what T(value) gives, whatever their length and where they begin; and a row of which whole pieces
// are masked keeps its softmax.
#include "kernels/device/rows.h"

#include <doctest/doctest.h>

#include <array>
#include <limits>

#include "kernels/cast.h"
#include "kernels/softmax.h"
#include "tensor/philox.h"

using namespace weft;

namespace {

// Every upper half of an f32 (NaN, infinities, zeros and subnormal numbers among them) with a lower half that is a tie, near one, or random.
float sample(int64_t i) {
  const uint32_t low[4] = {0x8000u, 0x7fffu, 0x8001u, PhiloxStream{3, 0}.bits(i) & 0xffffu};
  return std::bit_cast<float>((static_cast<uint32_t>(i * 40503) << 16) | low[i / 7 % 4]);
}

template <class T> int64_t wrong_elements(int64_t offset, int64_t row, int64_t rows, bool stream) {
  alignas(64) static T memory[1 << 18];
  T* const to = memory + 64 + offset;
  const int64_t n = row * rows;
  std::memset(static_cast<void*>(memory), 0x5a, sizeof(memory));
  {
    RowWriter<T> out(to, stream);
    for (int64_t r = 0; r < rows; ++r) {
      const auto value = [=](int64_t i) { return static_cast<accumulator_t<T>>(sample(r * row + i)); };
      if (r % 2 == 0) {
        out.write(row, value);
      } else {
        out.write_padded(row, value);
      }
    }
  }
  int64_t wrong = 0;
  for (int64_t i = 0; i < n; ++i) {
    const T right(sample(i));
    wrong += std::memcmp(to + i, &right, sizeof(T)) != 0;
  }
  T untouched;
  std::memset(static_cast<void*>(&untouched), 0x5a, sizeof(T));
  for (int64_t i = 1; i <= 64; ++i) {
    wrong += std::memcmp(to - i, &untouched, sizeof(T)) != 0;
    wrong += std::memcmp(to + n + i - 1, &untouched, sizeof(T)) != 0;
  }
  return wrong;
}

}  // namespace

TEST_CASE("rows of any length and beginning are written exactly, and nothing beside them") {
  for (const bool stream : {false, true}) {
    for (const auto& [offset, row, rows] : {std::array<int64_t, 3>{0, 1 << 16, 3}, {0, 32, 700}, {1, 191, 40}, {31, 1, 1}, {33, 1, 70}, {5, 0, 3},
                                            {7, 1023, 9}, {0, 1025, 9}, {63, 4099, 3}}) {
      CAPTURE(offset);
      CAPTURE(row);
      CAPTURE(stream);
      CHECK(wrong_elements<bf16>(offset, row, rows, stream) == 0);
      CHECK(wrong_elements<float>(offset, row, rows, stream) == 0);
    }
  }
}

TEST_CASE("softmax of a row whose first pieces are minus infinity") {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    std::vector<double> values(18000, -std::numeric_limits<double>::infinity());
    std::fill(values.begin() + 9000, values.end(), -1000.0);
    values[8999] = -200;
    values[8998] = -200;
    const std::vector<double> y = softmax(cast(Tensor::from(values, {2, 9000}), dtype)).to_doubles();
    CHECK(y[0] == 0);
    CHECK(y[8998] == 0.5);
    CHECK(y[8999] == 0.5);
    CHECK(y[9000] == doctest::Approx(1.0 / 9000).epsilon(0.004));
  }
}
