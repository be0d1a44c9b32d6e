#include "tensor/philox.h"

#include <doctest/doctest.h>

#include "kernels/device/philox_lanes.h"

using namespace weft;

// The known answers that the authors publish with Random123 (kat_vectors, philox 4x32 10).
TEST_CASE("Philox4x32-10 gives the published answers") {
  using Words = std::array<uint32_t, 4>;
  CHECK(philox4x32(0, 0, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32(~0ull, ~0ull, ~0ull) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  // Counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0: digits of pi.
  CHECK(philox4x32(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("sixteen blocks at once are the blocks one by one") {
  for (const PhiloxStream& stream :
       {PhiloxStream{0, 0}, PhiloxStream{0x299f31d0a4093822, 5}, PhiloxStream{7, 0xfffffff8}}) {
    for (uint64_t first : {0ull, 3ull, 0xfffffff5ull}) {
      uint32_t words[4 * philox_lanes];
      philox_words(stream, first, words);
      for (uint64_t i = 0; i < std::size(words); ++i) CHECK(words[i] == stream.bits(4 * first + i));
    }
  }
}

TEST_CASE("streams of one generator do not overlap and depend on the seed") {
  Random random{42};
  const PhiloxStream a = random.reserve(5), b = random.reserve(1), c = random.reserve(0), d = random.reserve(4);
  CHECK(a.offset == 0);
  CHECK(b.offset == 2);  // 5 numbers are 2 blocks
  CHECK(c.offset == 3);
  CHECK(d.offset == 3);
  CHECK(random.offset == 4);
  CHECK(a.bits(8) == b.bits(0));
  CHECK(a.bits(0) != PhiloxStream{43, 0}.bits(0));
}

TEST_CASE("uniform numbers lie in [0, 1) and are spread evenly") {
  CHECK(uniform_from_bits(0) == 0);
  CHECK(uniform_from_bits(~0u) == 1 - 0x1p-24f);
  const PhiloxStream stream{1, 0};
  const int n = 100000;
  int bins[10] = {};
  for (int i = 0; i < n; ++i) ++bins[static_cast<int>(stream.uniform(i) * 10)];
  double chi2 = 0;
  for (int count : bins) chi2 += (count - n / 10.0) * (count - n / 10.0) / (n / 10.0);
  CHECK(chi2 < 27.9);  // 9 degrees of freedom, p = 0.001; the stream is fixed
}

TEST_CASE("normal numbers have mean 0, variance 1, kurtosis 3, and neighbours do not correlate") {
  const PhiloxStream stream{2, 0};
  const int n = 100000;
  double m1 = 0, m2 = 0, m4 = 0, lag = 0, before = 0;
  for (int i = 0; i < n; ++i) {
    const double v = stream.normal(i);
    m1 += v, m2 += v * v, m4 += v * v * v * v, lag += v * before;
    before = v;
  }
  // Four standard errors each.
  CHECK(std::fabs(m1 / n) < 4 / std::sqrt(n));
  CHECK(std::fabs(m2 / n - 1) < 4 * std::sqrt(2.0 / n));
  CHECK(std::fabs(m4 / n - 3) < 4 * std::sqrt(96.0 / n));
  CHECK(std::fabs(lag / n) < 4 / std::sqrt(n));
}
