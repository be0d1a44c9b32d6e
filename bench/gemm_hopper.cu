// The eighth step of bench/gemm_staircase.cu: what an H100's tensor cores want. y [M, N] = a [M, K] b [K, N] in bf16.
//
// Step 7's warps spend their instructions on bringing tiles in and on feeding the tensor cores by ldmatrix. Here one
// thread asks the copy engine for whole boxes (TMA), which arrive in shared memory swizzled and counted by an mbarrier,
// and four warps at once multiply 64 x 128 by 16 straight from there (wgmma): a tile of 128 x 128 x 64 takes 8 of these
// instructions for two warpgroups, where step 7 needs 512 mma.sync, and ldmatrix to feed them.
//
//   gemm_hopper [M N K]                                    compares with f64 on the host
//   scripts/vgpu --gpu h100 --counts FILE gemm_hopper      the counts: docs/kernels.md
//
// Napkin: a block of 128 x 128 does 2 * 128 * 128 FLOP for 512 bytes a step in depth, 64 FLOP a byte; a stage of the
// ring has 32 KiB, so that four of them cover 128 KiB / (3.35 TB/s / 132 SMs) = 5 us of memory's latency and jitter.
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Half = __nv_bfloat16;
constexpr int tile = 128, depth = 64, stages = 4, consumers = 2;
constexpr int threads = 128 * (1 + consumers);

// Boxes of 64 x 64 or 64 x 128 halves: lines of 128 bytes, as the 128-byte swizzle wants them.
struct __align__(1024) Shared {
  Half a[stages][tile][depth];           // K-major: a row's 64 values of k
  Half b[stages][tile / 64][depth][64];  // N-major: 64 columns of each k
  Half y[consumers][tile / 64][64][64];
  uint64_t full[stages], empty[stages];
};

__device__ uint32_t address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

__device__ void wait(uint64_t* barrier, int parity) {
  asm volatile(
      "{\n.reg .pred done;\nWAIT_%=:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@!done bra WAIT_%=;\n}" ::"r"(address(barrier)),
      "r"(parity)
      : "memory");
}

__device__ void load_box(void* to, const CUtensorMap& map, int x, int y, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          address(to)),
      "l"(&map), "r"(x), "r"(y), "r"(address(barrier))
      : "memory");
}

// A matrix descriptor: start, from 64 columns to the next (leading), from eight lines to the next (stride), the
// 128-byte swizzle.
__device__ uint64_t descriptor(const void* p, int leading, int stride) {
  return (address(p) & 0x3ffff) >> 4 | uint64_t(leading >> 4) << 16 | uint64_t(stride >> 4) << 32 | uint64_t{1} << 62;
}

#define R10(i) "%" #i "0, %" #i "1, %" #i "2, %" #i "3, %" #i "4, %" #i "5, %" #i "6, %" #i "7, %" #i "8, %" #i "9"
#define D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
// d += a b, 64 x 128 x 16, a K-major, b N-major. Asynchronous: d belongs to the tensor cores until the wait.
__device__ void multiply(float (&d)[64], uint64_t a, uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " R10(1)
               ", " R10(2) ", " R10(3) ", " R10(4) ", " R10(5) ", %60, %61, %62, %63}, %64, %65, 1, 1, 1, 0, 1;"
               : D4(0), D4(4), D4(8), D4(12), D4(16), D4(20), D4(24), D4(28), D4(32), D4(36), D4(40), D4(44), D4(48),
                 D4(52), D4(56), D4(60)
               : "l"(a), "l"(b));
}
#undef R10
#undef D4

// Warpgroup 0 is the producer: one thread of it fills the ring. Warpgroups 1 and 2 multiply: 64 rows of the tile each.
__global__ __launch_bounds__(threads, 1) void hopper(const __grid_constant__ CUtensorMap map_a,
                                                     const __grid_constant__ CUtensorMap map_b,
                                                     const __grid_constant__ CUtensorMap map_y, int K) {
  extern __shared__ __align__(1024) unsigned char storage[];
  Shared& s = *reinterpret_cast<Shared*>(storage);
  const int t = threadIdx.x, group = t / 128, m0 = blockIdx.y * tile, n0 = blockIdx.x * tile;
  const int steps = (K + depth - 1) / depth;
  if (t == 0) {
    for (int i = 0; i < stages; ++i) {
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(address(&s.full[i])) : "memory");
      asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address(&s.empty[i])), "n"(consumers) : "memory");
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (t != 0) return;
    for (int i = 0; i < steps; ++i) {
      const int stage = i % stages;
      wait(&s.empty[stage], i / stages % 2 ^ 1);  // the first round does not wait
      asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address(&s.full[stage])),
                   "n"(sizeof s.a[0] + sizeof s.b[0])
                   : "memory");
      load_box(s.a[stage], map_a, i * depth, m0, &s.full[stage]);
      for (int j = 0; j < tile / 64; ++j) load_box(s.b[stage][j], map_b, n0 + 64 * j, i * depth, &s.full[stage]);
    }
    return;
  }
  asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
  const int half = group - 1;
  float sums[64] = {};
  for (int i = 0; i < steps; ++i) {
    const int stage = i % stages;
    wait(&s.full[stage], i / stages % 2);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int k = 0; k < depth; k += 16)
      multiply(sums, descriptor(&s.a[stage][64 * half][k], 16, 1024),
               descriptor(&s.b[stage][0][k][0], sizeof s.b[0][0], 1024));
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    // One product stays in flight: the stage before it has been read.
    asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
    if (i > 0 && t % 128 == 0)
      asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(&s.empty[(i - 1) % stages])) : "memory");
  }
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  // Sums 4j + 2h + e lie in row g + 8h, column 8j + 2q + e of the warp's 16 rows; chunk j of the line changes places.
  const int lane = t % 32, row = t % 128 / 32 * 16 + lane / 4;
#pragma unroll
  for (int j = 0; j < 16; ++j)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = row + 8 * h, place = (j % 8 ^ r % 8) * 8 + lane % 4 * 2;
      *reinterpret_cast<__nv_bfloat162*>(&s.y[half][j / 8][r][place]) =
          __floats2bfloat162_rn(sums[4 * j + 2 * h], sums[4 * j + 2 * h + 1]);
    }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  asm volatile("bar.sync %0, 128;" ::"r"(group) : "memory");
  if (t % 128 != 0) return;
  for (int j = 0; j < tile / 64; ++j)
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&map_y),
                 "r"(n0 + 64 * j), "r"(m0 + 64 * half), "r"(address(s.y[half][j]))
                 : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}

void cuda(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

// The map of a row-major matrix [rows, columns] in boxes of rows x 64.
CUtensorMap map_of(Half* data, int rows, int columns, int box_rows) {
  void* encode = nullptr;
  cuda(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000, cudaEnableDefault, nullptr));
  CUtensorMap map;
  const cuuint64_t size[] = {cuuint64_t(columns), cuuint64_t(rows)}, stride[] = {columns * sizeof(Half)};
  const cuuint32_t box[] = {64, cuuint32_t(box_rows)}, steps[] = {1, 1};
  const CUresult result = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(encode)(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, data, size, stride, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) throw std::runtime_error("no tensor map for a matrix of these sizes");
  return map;
}

// Multiples of 1/16 below 1, exact in bf16: the numbers of the other steps.
std::vector<Half> numbers(size_t n) {
  std::vector<Half> x(n);
  uint32_t state = 1;
  for (Half& v : x) v = __float2bfloat16(static_cast<int>((state = state * 1664525u + 1013904223u) >> 27) / 16.0f - 1);
  return x;
}

struct Matrix {
  explicit Matrix(const std::vector<Half>& values) : count(values.size()) {
    cuda(cudaMalloc(&data, count * sizeof(Half)));
    cuda(cudaMemcpy(data, values.data(), count * sizeof(Half), cudaMemcpyHostToDevice));
  }
  ~Matrix() { cudaFree(data); }
  Half* data = nullptr;
  size_t count;
};

int run(int M, int N, int K) {
  if (M <= 0 || N <= 0 || K <= 0 || N % 8 || K % 8)
    throw std::runtime_error("M, N and K must be positive, N and K multiples of 8 (16 bytes)");
  const std::vector<Half> a = numbers(size_t(M) * K), b = numbers(size_t(K) * N);
  const Matrix da(a), db(b), dy(std::vector<Half>(size_t(M) * N));
  cudaEvent_t begin, end;
  cuda(cudaEventCreate(&begin));
  cuda(cudaEventCreate(&end));
  cuda(cudaFuncSetAttribute(hopper, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared)));
  cuda(cudaEventRecord(begin));
  hopper<<<dim3((N + tile - 1) / tile, (M + tile - 1) / tile), threads, sizeof(Shared)>>>(
      map_of(da.data, M, K, tile), map_of(db.data, K, N, depth), map_of(dy.data, M, N, 64), K);
  cuda(cudaGetLastError());
  cuda(cudaEventRecord(end));
  cuda(cudaEventSynchronize(end));
  float ms = 0;
  cuda(cudaEventElapsedTime(&ms, begin, end));
  std::vector<Half> y(size_t(M) * N);
  cuda(cudaMemcpy(y.data(), dy.data, y.size() * sizeof(Half), cudaMemcpyDeviceToHost));
  cuda(cudaEventDestroy(begin));
  cuda(cudaEventDestroy(end));
  double error = 0, top = 0;
  std::vector<double> truth(N);
  for (int m = 0; m < M; ++m) {
    std::fill(truth.begin(), truth.end(), 0);
    for (int k = 0; k < K; ++k)
      for (int n = 0; n < N; ++n)
        truth[n] += double(__bfloat162float(a[size_t(m) * K + k])) * __bfloat162float(b[size_t(k) * N + n]);
    for (int n = 0; n < N; ++n) {
      const double e = std::fabs(__bfloat162float(y[size_t(m) * N + n]) - truth[n]);
      if (!(e <= error) && !std::isnan(error)) error = e;  // a NaN stays
      top = std::max(top, std::fabs(truth[n]));
    }
  }
  const bool ok = error / top <= 1.0 / 256;  // of one rounding to bf16
  std::printf("8  %-40s %9.4f ms  error %.1e  %s\n", "copy engine and warpgroups (TMA, wgmma)", ms, error / top,
              ok ? "ok" : "WRONG");
  return ok ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto size = [&](int i) { return argc == 4 ? std::atoi(argv[i]) : 256; };
    return run(size(1), size(2), size(3));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
