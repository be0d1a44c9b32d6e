// A matrix product in seven steps, one idea each, from three lines to the kernels that weft uses. Every step computes
// y [M, N] = a [M, K] b [K, N], M and N multiples of 128, K of 32; the last ones take any size in kernels/device/.
//
//   gemm_staircase [M N K]                              runs every step and compares it with f64 on the host
//   scripts/vgpu --counts FILE gemm_staircase [M N K]   shows what each idea saves: sectors, wavefronts, instructions
//
// What to look for in the counts of 128 x 128 x 128 (step 1 has 1.0 as its unit):
//   global sectors     1, then 1/32 of the loads with tiles of 32, 1/128 with tiles of 128
//   shared wavefronts  a multiply-add: 2 in step 2, 1/4 in step 3; conflicts only in step 5, gone in step 6
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "kernels/device/gemm.h"
#include "kernels/device/launch.cuh"
#include "kernels/device/mma.cuh"

namespace {

using namespace weft;
using Half = __nv_bfloat16;

// Step 1. One thread an element, everything from global memory. Two loads a multiply-add: 0.25 FLOP a byte.
// Neighbouring threads have neighbouring columns, so at least the loads of b and the stores are whole sectors.
__global__ void naive(const float* a, const float* b, float* y, int M, int N, int K) {
  const int m = blockIdx.y * blockDim.y + threadIdx.y, n = blockIdx.x * blockDim.x + threadIdx.x;
  float sum = 0;
  for (int k = 0; k < K; ++k) sum += a[m * K + k] * b[k * N + n];
  y[m * N + n] = sum;
}

// Step 2. A block of 32 x 32 threads first brings a 32 x 32 tile of both factors to shared memory: global memory is
// read once a tile instead of once a thread, 8 FLOP a byte. Now two shared loads a multiply-add are the bound.
__global__ void shared_tile(const float* a, const float* b, float* y, int M, int N, int K) {
  __shared__ float left[32][32], right[32][32];
  const int tx = threadIdx.x, ty = threadIdx.y, m = blockIdx.y * 32 + ty, n = blockIdx.x * 32 + tx;
  float sum = 0;
  for (int k0 = 0; k0 < K; k0 += 32) {
    left[ty][tx] = a[m * K + k0 + tx];
    right[ty][tx] = b[(k0 + ty) * N + n];
    __syncthreads();
    for (int k = 0; k < 32; ++k) sum += left[ty][k] * right[k][tx];
    __syncthreads();
  }
  y[m * N + n] = sum;
}

// Step 3. A thread computes 8 x 8 elements of a 128 x 128 tile: 16 values from shared memory serve 64 multiply-adds,
// and they come 16 bytes at a time. The tile of a is turned on its way in, so that a thread's rows are neighbours.
__global__ void register_tile(const float* a, const float* b, float* y, int M, int N, int K) {
  constexpr int depth = 8;
  __shared__ __align__(16) float left[depth][128 + 4], right[depth][128];
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
  // A warp's threads as 4 x 8, so that a quarter warp reads 128 neighbouring bytes of b.
  const int tx = warp % 2 * 8 + lane % 8, ty = warp / 2 * 4 + lane / 8, m0 = blockIdx.y * 128, n0 = blockIdx.x * 128;
  float sums[8][8] = {};
  for (int k0 = 0; k0 < K; k0 += depth) {
    for (int i = t; i < 128 * depth; i += 256) left[i % depth][i / depth] = a[(m0 + i / depth) * K + k0 + i % depth];
    for (int i = t; i < 128 * depth; i += 256) right[i / 128][i % 128] = b[(k0 + i / 128) * N + n0 + i % 128];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < depth; ++k) {
      __align__(16) float fa[8], fb[8];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        *reinterpret_cast<float4*>(fa + 4 * half) = *reinterpret_cast<float4*>(&left[k][64 * half + 4 * ty]);
        *reinterpret_cast<float4*>(fb + 4 * half) = *reinterpret_cast<float4*>(&right[k][64 * half + 4 * tx]);
      }
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[i][j] += fa[i] * fb[j];
    }
    __syncthreads();
  }
  for (int i = 0; i < 8; ++i) {
    const int m = m0 + i / 4 * 64 + 4 * ty + i % 4;
    for (int j = 0; j < 8; j += 4) {
      float* to = y + m * N + n0 + j * 16 + 4 * tx;
      *reinterpret_cast<float4*>(to) = {sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]};
    }
  }
}

// Step 4 is the f32 kernel of weft: step 3 with the copies of the next tile under way (cp.async) while this one is
// multiplied (kernels/device/gemm_f32.cuh).

// Steps 5 and 6. Tensor cores: a warp multiplies 16 x 16 by 16 x 8 in one instruction, 4,096 FLOP for 3 registers of
// factors a lane. Its fragments come from shared memory by ldmatrix, eight rows of 16 bytes at a time. Four warps have
// 32 x 32 each of a 64 x 64 tile. Step 5 stores the tiles plainly: rows of a are 64 bytes, so 8 rows fall on 4 times
// the same banks, those of b 128 bytes, 8 times the same. Step 6 swaps the 16-byte chunks of a row by the row's number:
// no conflicts, not a byte more.
template <bool Swizzled> __device__ int place(int row, int chunk, int chunks) {
  const int turn = chunks == 4 ? row / 2 % 4 : row % 8;
  return (row * chunks + (Swizzled ? chunk ^ turn : chunk)) * 8;
}
template <bool Swizzled> __global__ void tensor_cores(const Half* a, const Half* b, Half* y, int M, int N, int K) {
  constexpr int depth = 32;
  __shared__ __align__(16) Half left[64 * depth], right[depth * 64];
  const int t = threadIdx.x, lane = t % 32, m_warp = t / 64 * 32, n_warp = t / 32 % 2 * 32;
  const int m0 = blockIdx.y * 64, n0 = blockIdx.x * 64;
  const uint32_t left_address = shared_address(left), right_address = shared_address(right);
  float sums[2][4][4] = {};
  for (int k0 = 0; k0 < K; k0 += depth) {
    for (int i = t; i < 64 * depth / 8; i += 128) {
      *reinterpret_cast<uint4*>(left + place<Swizzled>(i / 4, i % 4, 4)) =
          *reinterpret_cast<const uint4*>(a + (m0 + i / 4) * K + k0 + i % 4 * 8);
      *reinterpret_cast<uint4*>(right + place<Swizzled>(i / 8, i % 8, 8)) =
          *reinterpret_cast<const uint4*>(b + (k0 + i / 8) * N + n0 + i % 8 * 8);
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < depth; k += 16) {
      uint32_t fa[2][4], fb[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        load_matrices(fa[i], left_address + 2 * place<Swizzled>(m_warp + 16 * i + lane % 16, k / 8 + lane / 16, 4));
        load_matrices_transposed(
            fb[i], right_address + 2 * place<Swizzled>(k + lane % 16, (n_warp + 16 * i) / 8 + lane / 16, 8));
      }
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) mma_bf16(sums[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int m = m0 + m_warp + 16 * i + 8 * half + lane / 4, n = n0 + n_warp + 8 * j + lane % 4 * 2;
        *reinterpret_cast<uint32_t*>(y + m * N + n) = pack_bf16(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
      }
}

// Step 7 is the bf16 kernel of weft: step 6 with a ring of three tiles filled by cp.async, tiles of 128 x 128, and
// 16-byte stores after an exchange between neighbouring lanes (kernels/device/gemm_bf16.cuh, gemm_kernel.cuh).
// Step 8, TMA and wgmma, needs code for sm_90a: bench/gemm_hopper.cu.

void product_of_weft(const Tensor& a, const Tensor& b, const Tensor& y) {
  const int64_t M = y.dim(0), N = y.dim(1), K = a.dim(1);
  gemm_cuda({y.dtype(), 1, M, N, K, {a.raw(), K, 1}, {b.raw(), N, 1}, y.raw(), N, M * N});
}

double error_of(const Tensor& y, const std::vector<double>& truth) {
  const std::vector<double> got = y.to(Device::cpu).to_doubles();
  double error = 0, top = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    const double e = std::fabs(got[i] - truth[i]);
    if (!(e <= error) && !std::isnan(error)) error = e;  // a NaN stays
    top = std::max(top, std::fabs(truth[i]));
  }
  return error / top;
}

int run(int M, int N, int K) {
  check(M > 0 && N > 0 && K > 0 && M % 128 == 0 && N % 128 == 0 && K % 32 == 0,
        "M and N must be multiples of 128 and K of 32 but are {}, {} and {}", M, N, K);
  std::vector<float> a(M * K), b(K * N);
  // Multiples of 1/16 below 1 are exact in bf16, so that one truth serves all steps.
  for (std::vector<float>* x : {&a, &b}) {
    uint32_t state = 1;
    for (float& v : *x) v = static_cast<int>((state = state * 1664525u + 1013904223u) >> 27) / 16.0f - 1;
  }
  std::vector<double> truth(static_cast<size_t>(M) * N);
  for (int m = 0; m < M; ++m)
    for (int k = 0; k < K; ++k)
      for (int n = 0; n < N; ++n) truth[m * N + n] += static_cast<double>(a[m * K + k]) * b[k * N + n];

  const Tensor host_a = Tensor::from(a, {M, K}), host_b = Tensor::from(b, {K, N});
  bool right = true;
  const auto step = [&](int number, const char* idea, DType dtype, auto&& start) {
    const auto on_device = [dtype](const Tensor& host) {
      const Tensor converted = Tensor::empty(host.shape(), dtype);
      converted.copy_from(host);
      return converted.to(Device::cuda);
    };
    const Tensor x = on_device(host_a), w = on_device(host_b), y = Tensor::empty({M, N}, dtype, Device::cuda);
    cuda::Event begin, end;
    begin.record();
    start(x, w, y);
    end.record();
    const double ms = end.milliseconds_since(begin), error = error_of(y, truth);
    const bool ok = error <= (dtype == DType::f32 ? 1e-5 : 1.0 / 128);
    right = right && ok;
    std::printf("%d  %-40s %9.4f ms  error %.1e  %s\n", number, idea, ms, error, ok ? "ok" : "WRONG");
  };
  const auto f32 = [&](const char* name, auto kernel, dim3 grid, dim3 block) {
    return [=](const Tensor& x, const Tensor& w, const Tensor& y) {
      launch(name, kernel, grid, block, 0, elements<float>(x), elements<float>(w), elements<float>(y), M, N, K);
    };
  };
  const auto bf16 = [&](const char* name, auto kernel) {
    return [=](const Tensor& x, const Tensor& w, const Tensor& y) {
      launch(name, kernel, dim3(N / 64, M / 64), 128, 0, elements<Half>(x), elements<Half>(w), elements<Half>(y), M, N,
             K);
    };
  };
  step(1, "naive", DType::f32, f32("naive", naive, dim3(N / 32, M / 8), dim3(32, 8)));
  step(2, "tiles in shared memory", DType::f32, f32("shared_tile", shared_tile, dim3(N / 32, M / 32), dim3(32, 32)));
  step(3, "8 x 8 elements a thread", DType::f32, f32("register_tile", register_tile, dim3(N / 128, M / 128), 256));
  step(4, "asynchronous copies (weft's f32)", DType::f32, product_of_weft);
  step(5, "tensor cores, bf16", DType::bf16, bf16("tensor_cores", tensor_cores<false>));
  step(6, "no bank conflicts", DType::bf16, bf16("tensor_cores_swizzled", tensor_cores<true>));
  step(7, "pipeline of three tiles (weft's bf16)", DType::bf16, product_of_weft);
  return right ? 0 : 1;
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
