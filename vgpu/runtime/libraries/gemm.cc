#include "vgpu/runtime/libraries/gemm.h"

#include <vector>

namespace vgpu {
namespace {

// op(X) as a dense row-major f32 matrix of rows x columns.
std::vector<float> pack(const GemmOperand& x, int64_t index, int64_t rows, int64_t columns, Rounding rounding) {
  std::vector<float> packed(static_cast<size_t>(rows * columns));
  int64_t base = index * x.stride;
#pragma omp parallel for
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      int64_t at = x.transposed ? j + i * x.ld : i + j * x.ld;
      packed[static_cast<size_t>(i * columns + j)] = round_operand(load(x.data, base + at, x.type), rounding);
    }
  }
  return packed;
}

void compute_one(const Gemm& g, int64_t index) {
  int64_t depth = g.alpha != 0 ? g.k : 0;  // A and B are not looked at where they do not count
  std::vector<float> a = pack(g.a, index, g.m, depth, g.rounding), b = pack(g.b, index, depth, g.n, g.rounding);
  int64_t base = index * g.c.stride;
#pragma omp parallel for
  for (int64_t i = 0; i < g.m; ++i) {
    std::vector<float> sums(static_cast<size_t>(g.n), 0.0f);
    for (int64_t p = 0; p < depth; ++p) {
      float factor = a[static_cast<size_t>(i * depth + p)];
      const float* row = b.data() + p * g.n;
      for (int64_t j = 0; j < g.n; ++j) sums[static_cast<size_t>(j)] += factor * row[j];
    }
    for (int64_t j = 0; j < g.n; ++j) {
      int64_t at = base + i + j * g.c.ld;
      float value = g.alpha * sums[static_cast<size_t>(j)];
      if (g.beta != 0) value += g.beta * load(g.c.data, at, g.c.type);
      store(g.to, at, g.c.type, value);
    }
  }
}

// The bytes of a column-major matrix, for every matrix of the batch.
void add_ranges(std::vector<VgpuRange>& ranges, const void* data, const GemmOperand& x, int64_t rows, int64_t columns,
                int64_t batch) {
  auto size = static_cast<int64_t>(element_bytes(x.type));
  for (int64_t index = 0; index < batch; ++index) {
    ranges.push_back({static_cast<const char*>(data) + index * x.stride * size, static_cast<size_t>(x.ld * size),
                      static_cast<size_t>(rows * size), static_cast<size_t>(columns)});
    if (x.stride == 0) break;
  }
}

void add_operand(std::vector<VgpuRange>& ranges, const GemmOperand& x, int64_t rows, int64_t columns, int64_t batch) {
  if (x.transposed) std::swap(rows, columns);
  add_ranges(ranges, x.data, x, rows, columns, batch);
}

}  // namespace

cudaError_t submit_gemm(cudaStream_t stream, const std::string& call, const Gemm& g) {
  if (g.m == 0 || g.n == 0 || g.batch == 0) return cudaSuccess;
  LibraryCall described;
  described.name = call + " " + std::to_string(g.m) + "x" + std::to_string(g.n) + "x" + std::to_string(g.k);
  if (g.batch > 1) described.name += " batch " + std::to_string(g.batch);
  if (g.alpha != 0) {
    add_operand(described.reads, g.a, g.m, g.k, g.batch);
    add_operand(described.reads, g.b, g.k, g.n, g.batch);
  }
  if (g.beta != 0) add_ranges(described.reads, g.c.data, g.c, g.m, g.n, g.batch);
  add_ranges(described.writes, g.to, g.c, g.m, g.n, g.batch);
  described.flop = 2.0 * static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k) *
                   static_cast<double>(g.batch);
  described.flop_rate_of_f16 = rate_of_f16(g.a.type, g.rounding);
  return library_call(stream, described, [g] {
    for (int64_t index = 0; index < g.batch; ++index) compute_one(g, index);
  });
}

}  // namespace vgpu
