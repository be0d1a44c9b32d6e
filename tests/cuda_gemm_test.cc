// What matmul's cases do not reach of the cuda device's products: the residual, rows of y and factors that lie apart or
// unaligned, the sum over a batch, split sums, and the same through cuBLAS.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "kernels/device/doors.h"
#include "kernels/device/gemm.h"

using namespace weft;

namespace {

struct Product {
  int64_t batch, m, n, k;
  bool turned_a = false, turned_b = false, one_b = false, sum = false, residual = false;
  int64_t gap = 0;     // elements between the rows of y and of the factors
  int64_t offset = 0;  // of every factor's first element
  Activation activation = Activation::none;
};

std::vector<double> draw(int64_t count, uint32_t state) {
  std::vector<double> x(count);
  // Multiples of 1/16 below 1 are exact in bf16.
  for (double& v : x) v = static_cast<int>((state = state * 1664525u + 1013904223u) >> 27) / 16.0 - 1;
  return x;
}

Tensor on_device(const std::vector<double>& x, DType dtype) {
  const Tensor host = Tensor::empty({static_cast<int64_t>(x.size())}, dtype);
  host.copy_from(Tensor::from(x, {static_cast<int64_t>(x.size())}));
  return host.to(Device::cuda);
}

// The largest error of y as a part of the largest element; elements in the gaps must stay as they were.
double error_of(const Product& p, DType dtype, std::vector<double>* bytes = nullptr) {
  const int64_t columns_a = (p.turned_a ? p.m : p.k) + p.gap, rows_a = p.turned_a ? p.k : p.m;
  const int64_t columns_b = (p.turned_b ? p.k : p.n) + p.gap, rows_b = p.turned_b ? p.n : p.k;
  const int64_t step_y = p.n + p.gap, batches_y = p.sum ? 1 : p.batch;
  const auto a = draw(p.offset + p.batch * rows_a * columns_a, 1), b = draw(p.offset + p.batch * rows_b * columns_b, 2);
  const auto bias = draw(p.n, 3), residual = draw(batches_y * p.m * step_y, 4), before = draw(residual.size(), 5);
  const Tensor da = on_device(a, dtype), db = on_device(b, dtype), dbias = on_device(bias, dtype),
               dresidual = on_device(residual, dtype), dy = on_device(before, dtype);
  const auto at = [&](const Tensor& x) { return static_cast<char*>(x.raw()) + p.offset * size_of(dtype); };
  Gemm gemm{dtype,
            p.batch,
            p.m,
            p.n,
            p.k,
            {at(da), p.turned_a ? 1 : columns_a, p.turned_a ? columns_a : 1, rows_a * columns_a},
            {at(db), p.turned_b ? 1 : columns_b, p.turned_b ? columns_b : 1, p.one_b ? 0 : rows_b * columns_b},
            dy.raw(),
            step_y,
            p.m * step_y};
  gemm.bias = dbias.raw(), gemm.activation = p.activation, gemm.sum_batch = p.sum;
  if (p.residual) gemm.residual = dresidual.raw();
  gemm_cuda(gemm);
  const std::vector<double> y = dy.to(Device::cpu).to_doubles();
  if (bytes) *bytes = y;

  double error = 0, top = 0;
  for (int64_t z = 0; z < batches_y; ++z) {
    for (int64_t i = 0; i < p.m; ++i) {
      for (int64_t j = 0; j < step_y; ++j) {
        const int64_t here = (z * p.m + i) * step_y + j;
        if (j >= p.n) {
          if (y[here] != before[here]) return INFINITY;
          continue;
        }
        double sum = bias[j] + (p.residual ? residual[here] : 0);
        for (int64_t s = z; s < (p.sum ? p.batch : z + 1); ++s) {
          const double* a0 = a.data() + p.offset + s * rows_a * columns_a;
          const double* b0 = b.data() + p.offset + (p.one_b ? 0 : s * rows_b * columns_b);
          for (int64_t k = 0; k < p.k; ++k)
            sum += a0[p.turned_a ? k * columns_a + i : i * columns_a + k] *
                   b0[p.turned_b ? j * columns_b + k : k * columns_b + j];
        }
        if (p.activation == Activation::gelu) sum *= 0.5 * (1 + std::erf(sum / std::sqrt(2.0)));
        const double e = std::fabs(y[here] - sum);
        if (!(e <= error) && !std::isnan(error)) error = e;  // a NaN stays
        top = std::max(top, std::fabs(sum));
      }
    }
  }
  return error / top;
}

std::vector<Product> products() {
  std::vector<Product> all;
  for (bool ta : {false, true}) {
    for (bool tb : {false, true}) {
      all.push_back({2, 40, 72, 48, ta, tb, false, false, true});
      all.push_back({2, 33, 35, 50, ta, tb, true, false, true, 3});
      all.push_back({1, 24, 40, 64, ta, tb, false, false, true, 0, 1});                   // begins at an odd element
      all.push_back({3, 16, 24, 40, ta, tb, true, true});                                 // summed over the batch
      all.push_back({1, 64, 64, 2048, ta, tb, false, false, true, 8});                    // split sums
      all.push_back({2, 1, 40, 72, ta, tb, false, false, true});                          // one row, aligned
      all.push_back({2, 3, 33, 35, ta, tb, true, false, true, 1});                        // few rows
      all.push_back({2, 40, 2, 72, ta, tb, false, false, true, 0, 0, Activation::gelu});  // few columns
    }
  }
  all.push_back({1, 130, 136, 0, false, false, false, false, true, 0, 0, Activation::gelu});  // nothing to sum
  return all;
}

void check_all() {
  for (const Product& p : products()) {
    CAPTURE(p.m);
    CAPTURE(p.n);
    CAPTURE(p.k);
    CAPTURE(p.turned_a);
    CAPTURE(p.turned_b);
    CHECK(error_of(p, DType::f32) <= 1e-5);
    CHECK(error_of(p, DType::bf16) <= 1.0 / 256);
  }
}

}  // namespace

TEST_CASE("weft's products") { check_all(); }

TEST_CASE("cuBLAS behind the same door") {
  try {
    choose_gemm("cublas");
  } catch (const std::invalid_argument& error) {
    MESSAGE("SKIPPED: ", error.what());  // built without it
    return;
  }
  check_all();
  choose_gemm("own");
}

TEST_CASE("the same bits every time") {
  for (DType dtype : {DType::f32, DType::bf16}) {
    std::vector<double> first, second;
    const Product split{1, 65, 70, 2000, false, true, false, false, true};
    error_of(split, dtype, &first);
    error_of(split, dtype, &second);
    CHECK(std::memcmp(first.data(), second.data(), first.size() * sizeof(double)) == 0);
  }
}

TEST_CASE("a door that does not exist") {
  CHECK_THROWS_WITH(choose_gemm("mkl"), "[gemm] the door must be own or cublas but is mkl");
  CHECK_THROWS_WITH(choose_conv("mkl"), "[conv] the door must be own or cudnn but is mkl");
}
