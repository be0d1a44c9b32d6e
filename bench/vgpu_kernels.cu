// Kernels of the kinds that weft has, small and plain, each checked against the CPU: they measure the virtual GPU and
// prove that it runs what nvcc emits for every architecture. Prints one line a kernel; exit code 1 if a result is
// wrong. usage: vgpu_kernels [--repeat N] [--cpu-time] [--no-mma] [NAME ...]
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

// ---- kernels ----

// One thread per four elements.
__global__ void gelu_map(const float4* x, float4* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const auto gelu = [](float v) { return 0.5f * v * (1.f + tanhf(0.7978845608f * (v + 0.044715f * v * v * v))); };
  const float4 v = x[i];
  y[i] = make_float4(gelu(v.x), gelu(v.y), gelu(v.z), gelu(v.w));
}

__device__ float warp_sum(float v) {
  for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
  return v;
}
__device__ float warp_max(float v) {
  for (int o = 16; o; o >>= 1) v = fmaxf(v, __shfl_xor_sync(~0u, v, o));
  return v;
}

// One block of 256 threads per row.
__global__ void softmax_rows(const float* x, float* y, int n) {
  __shared__ float partial[8];
  const float* row = x + static_cast<size_t>(blockIdx.x) * n;
  const int t = threadIdx.x;
  float m = -INFINITY;
  for (int i = t; i < n; i += 256) m = fmaxf(m, row[i]);
  m = warp_max(m);
  if (t % 32 == 0) partial[t / 32] = m;
  __syncthreads();
  m = partial[0];
  for (int i = 1; i < 8; i++) m = fmaxf(m, partial[i]);
  __syncthreads();
  float s = 0;
  for (int i = t; i < n; i += 256) s += __expf(row[i] - m);
  s = warp_sum(s);
  if (t % 32 == 0) partial[t / 32] = s;
  __syncthreads();
  s = 0;
  for (int i = 0; i < 8; i++) s += partial[i];
  for (int i = t; i < n; i += 256) y[static_cast<size_t>(blockIdx.x) * n + i] = __expf(row[i] - m) / s;
}

// One warp per row; two passes over it.
__global__ void layer_norm_forward(const float* x, const float* w, const float* b, float* y, int rows, int n) {
  const int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= rows) return;
  const float* r = x + static_cast<size_t>(row) * n;
  float s = 0;
  for (int i = lane; i < n; i += 32) s += r[i];
  const float mean = warp_sum(s) / n;
  float v = 0;
  for (int i = lane; i < n; i += 32) v += (r[i] - mean) * (r[i] - mean);
  const float scale = rsqrtf(warp_sum(v) / n + 1e-5f);
  for (int i = lane; i < n; i += 32) y[static_cast<size_t>(row) * n + i] = (r[i] - mean) * scale * w[i] + b[i];
}

// Sums of columns of dy: each block adds its rows in registers, then to the result by atomics.
__global__ void column_sums(const float* dy, float* sums, int rows, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    float s = 0;
    for (int r = blockIdx.x; r < rows; r += gridDim.x) s += dy[static_cast<size_t>(r) * n + i];
    atomicAdd(&sums[i], s);
  }
}

// 64x64 tile per block of 256 threads, 4x4 elements a thread, 16 deep.
__global__ void sgemm_64(const float* A, const float* B, float* C, int M, int N, int K) {
  __shared__ float a[16][64], b[16][64];
  const int t = threadIdx.x, tx = t % 16, ty = t / 16, m0 = blockIdx.y * 64, n0 = blockIdx.x * 64;
  float acc[4][4] = {};
  for (int k0 = 0; k0 < K; k0 += 16) {
    for (int i = t; i < 1024; i += 256) {
      a[i % 16][i / 16] = A[static_cast<size_t>(m0 + i / 16) * K + k0 + i % 16];
      b[i / 64][i % 64] = B[static_cast<size_t>(k0 + i / 64) * N + n0 + i % 64];
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 16; k++) {
      float x[4], y[4];
#pragma unroll
      for (int i = 0; i < 4; i++) x[i] = a[k][ty * 4 + i], y[i] = b[k][tx * 4 + i];
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) acc[i][j] += x[i] * y[j];
    }
    __syncthreads();
  }
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) C[static_cast<size_t>(m0 + ty * 4 + i) * N + n0 + tx * 4 + j] = acc[i][j];
}

// 64x64 tile per block of 4 warps, bf16, cp.async double buffer, ldmatrix, mma.
__device__ uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }
__device__ void copy16(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from));
}
template <bool Transposed>
__device__ void load4(uint32_t (&r)[4], const void* p) {
  if (Transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p)));
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p)));
}
__device__ void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__global__ void __launch_bounds__(128)
    hgemm_mma(const __nv_bfloat16* A, const __nv_bfloat16* B, float* C, int M, int N, int K) {
#if __CUDA_ARCH__ >= 800
  constexpr int la = 40, lb = 72;  // padded rows: no bank conflicts
  __shared__ __align__(16) __nv_bfloat16 a[2][64 * la], b[2][32 * lb];
  const int t = threadIdx.x, lane = t % 32, wm = t / 64 * 32, wn = t / 32 % 2 * 32, m0 = blockIdx.y * 64,
            n0 = blockIdx.x * 64;
  float acc[2][4][4] = {};
  const auto load = [&](int s, int k0) {
    for (int c = t; c < 256; c += 128) {
      copy16(&a[s][c / 4 * la + c % 4 * 8], A + static_cast<size_t>(m0 + c / 4) * K + k0 + c % 4 * 8);
      copy16(&b[s][c / 8 * lb + c % 8 * 8], B + static_cast<size_t>(k0 + c / 8) * N + n0 + c % 8 * 8);
    }
    asm volatile("cp.async.commit_group;");
  };
  load(0, 0);
  for (int k0 = 0, s = 0; k0 < K; k0 += 32, s ^= 1) {
    if (k0 + 32 < K) {
      load(s ^ 1, k0 + 32);
      asm volatile("cp.async.wait_group 1;");
    } else {
      asm volatile("cp.async.wait_group 0;");
    }
    __syncthreads();
#pragma unroll
    for (int kk = 0; kk < 32; kk += 16) {
      uint32_t fa[2][4], fb[2][4];
      for (int i = 0; i < 2; i++) load4<false>(fa[i], &a[s][(wm + i * 16 + lane % 16) * la + kk + lane / 16 * 8]);
      for (int j = 0; j < 2; j++) load4<true>(fb[j], &b[s][(kk + lane % 16) * lb + wn + j * 16 + lane / 16 * 8]);
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) multiply(acc[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
    }
    __syncthreads();
  }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 4; j++) {
      float* c = C + static_cast<size_t>(m0 + wm + i * 16 + lane / 4) * N + n0 + wn + j * 8 + lane % 4 * 2;
      *reinterpret_cast<float2*>(c) = make_float2(acc[i][j][0], acc[i][j][1]);
      *reinterpret_cast<float2*>(c + 8 * N) = make_float2(acc[i][j][2], acc[i][j][3]);
    }
#endif
}

// Causal attention, head size 64: one thread per query, keys and values in tiles of 32.
__global__ void __launch_bounds__(64) flash_causal(const float* Q, const float* Kt, const float* V, float* O, int T) {
  __shared__ float k[32][64], v[32][64];
  const int q = blockIdx.x * 64 + threadIdx.x;
  float x[64], o[64] = {}, m = -INFINITY, s = 0;
#pragma unroll
  for (int d = 0; d < 64; d++) x[d] = Q[static_cast<size_t>(q) * 64 + d] * 0.125f;
  for (int k0 = 0; k0 < blockIdx.x * 64 + 64; k0 += 32) {
    __syncthreads();
    for (int i = threadIdx.x; i < 32 * 64; i += 64) {
      k[i / 64][i % 64] = Kt[static_cast<size_t>(k0) * 64 + i];
      v[i / 64][i % 64] = V[static_cast<size_t>(k0) * 64 + i];
    }
    __syncthreads();
    for (int j = 0; j < 32 && k0 + j <= q; j++) {
      float dot = 0;
#pragma unroll
      for (int d = 0; d < 64; d++) dot += x[d] * k[j][d];
      const float top = fmaxf(m, dot), scale = __expf(m - top), p = __expf(dot - top);
      s = s * scale + p;
      m = top;
#pragma unroll
      for (int d = 0; d < 64; d++) o[d] = o[d] * scale + p * v[j][d];
    }
  }
#pragma unroll
  for (int d = 0; d < 64; d++) O[static_cast<size_t>(q) * 64 + d] = o[d] / s;
}

__global__ void barriers(int* out, int n) {
  for (int i = 0; i < n; i++) __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = n;
}

// ---- host ----

static uint32_t state = 1;
static float uniform() {
  state = state * 1664525u + 1013904223u;
  return static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
}
static std::vector<float> random_vector(size_t n) {
  std::vector<float> v(n);
  for (float& x : v) x = uniform();
  return v;
}
template <class T>
struct Device {
  explicit Device(const std::vector<T>& v) : size(v.size()) {
    cudaMalloc(reinterpret_cast<void**>(&p), size * sizeof(T));
    cudaMemcpy(p, v.data(), size * sizeof(T), cudaMemcpyHostToDevice);
  }
  ~Device() { cudaFree(p); }
  std::vector<T> get() const {
    std::vector<T> v(size);
    cudaMemcpy(v.data(), p, size * sizeof(T), cudaMemcpyDeviceToHost);
    return v;
  }
  T* p = nullptr;
  size_t size;
};

static double worst(const std::vector<float>& got, const std::vector<float>& want) {
  double e = 0;
  for (size_t i = 0; i < want.size(); i++) {
    const double d = std::fabs(static_cast<double>(got[i]) - want[i]) / (1 + std::fabs(want[i]));
    if (!(d <= e) && !std::isnan(e)) e = d;  // NaN stays
  }
  return e;
}

static int repeat = 1, failures = 0;
static double least_seconds = 0;  // of a line's measurement: launches go on until they are over
static bool cpu_time = false;  // rates per second of processor time: on a busy machine, with one thread
static std::vector<std::string> wanted;

// Runs a launch `repeat` times at least and reports `work` per second, and how many cores were busy with it.
static void run(const char* name, double work, const char* unit, const std::function<void()>& launch,
                const std::function<double()>& error) {
  bool chosen = wanted.empty();
  for (const std::string& w : wanted) chosen = chosen || w == name;
  if (!chosen) return;
  launch();  // builds the kernel
  const auto begin = std::chrono::steady_clock::now();
  const std::clock_t start = std::clock();
  double wall = 0, processor = 0;
  int launches = 0;
  const auto seconds = [&] { return cpu_time ? processor : wall; };
  while (launches < repeat || seconds() < least_seconds) {
    launch();
    cudaDeviceSynchronize();
    launches++;
    wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    processor = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  }
  const double e = error();
  const bool ok = e < 2e-5;
  failures += !ok;
  std::printf("%-20s %10.3f M%s/s  busy %.2f  error %.1e %s\n", name, work * launches / seconds() / 1e6, unit,
              processor / wall, e, ok ? "ok" : "WRONG");
  std::fflush(stdout);
}

static void bench_rows() {
  const int n = 65536;
  const auto x = random_vector(n);
  Device<float> dx(x), dy(std::vector<float>(n, 0.f));
  run(
      "gelu_map", n, "elem",
      [&] { gelu_map<<<n / 4 / 256, 256>>>(reinterpret_cast<float4*>(dx.p), reinterpret_cast<float4*>(dy.p), n / 4); },
      [&] {
        std::vector<float> want(n);
        for (int i = 0; i < n; i++)
          want[i] = 0.5f * x[i] * (1 + std::tanh(0.7978845608f * (x[i] + 0.044715f * x[i] * x[i] * x[i])));
        return worst(dy.get(), want);
      });
  const int rows = 64, columns = 1000;
  const auto s = random_vector(rows * columns);
  Device<float> ds(s), dt(std::vector<float>(rows * columns, 0.f));
  run(
      "softmax_rows", rows * columns, "elem", [&] { softmax_rows<<<rows, 256>>>(ds.p, dt.p, columns); },
      [&] {
        std::vector<float> want(rows * columns);
        for (int r = 0; r < rows; r++) {
          double sum = 0;
          for (int i = 0; i < columns; i++) sum += std::exp(static_cast<double>(s[r * columns + i]));
          for (int i = 0; i < columns; i++)
            want[r * columns + i] = static_cast<float>(std::exp(static_cast<double>(s[r * columns + i])) / sum);
        }
        return worst(dt.get(), want);
      });
}

static void bench_norm() {
  const int rows = 128, n = 768;
  const auto x = random_vector(rows * n), w = random_vector(n), b = random_vector(n);
  Device<float> dx(x), dw(w), db(b), dy(std::vector<float>(rows * n, 0.f)), sums(std::vector<float>(n, 0.f));
  run(
      "layer_norm_forward", rows * n, "elem",
      [&] { layer_norm_forward<<<rows / 4, 128>>>(dx.p, dw.p, db.p, dy.p, rows, n); },
      [&] {
        std::vector<float> want(rows * n);
        for (int r = 0; r < rows; r++) {
          double mean = 0, var = 0;
          for (int i = 0; i < n; i++) mean += x[r * n + i] / static_cast<double>(n);
          for (int i = 0; i < n; i++) var += (x[r * n + i] - mean) * (x[r * n + i] - mean) / n;
          for (int i = 0; i < n; i++)
            want[r * n + i] = static_cast<float>((x[r * n + i] - mean) / std::sqrt(var + 1e-5) * w[i] + b[i]);
        }
        return worst(dy.get(), want);
      });
  run(
      "column_sums", rows * n, "elem",
      [&] {
        cudaMemset(sums.p, 0, n * 4);
        column_sums<<<8, 256>>>(dx.p, sums.p, rows, n);
      },
      [&] {
        std::vector<float> want(n);
        for (int i = 0; i < n; i++) {
          double sum = 0;
          for (int r = 0; r < rows; r++) sum += x[r * n + i];
          want[i] = static_cast<float>(sum);
        }
        return worst(sums.get(), want);
      });
}

static void bench_gemm(bool tensor_cores) {
  const int M = 256, N = 256, K = 256;
  auto a = random_vector(M * K), b = random_vector(K * N);
  std::vector<__nv_bfloat16> ha(a.size()), hb(b.size());
  for (size_t i = 0; i < a.size(); i++) ha[i] = __float2bfloat16(a[i]);
  for (size_t i = 0; i < b.size(); i++) hb[i] = __float2bfloat16(b[i]);
  const auto want = [&](bool half) {
    std::vector<float> c(M * N);
    for (int i = 0; i < M; i++)
      for (int j = 0; j < N; j++) {
        double s = 0;
        for (int k = 0; k < K; k++)
          s += half ? static_cast<double>(__bfloat162float(ha[i * K + k])) * __bfloat162float(hb[k * N + j])
                    : static_cast<double>(a[i * K + k]) * b[k * N + j];
        c[i * N + j] = static_cast<float>(s);
      }
    return c;
  };
  Device<float> da(a), db(b), dc(std::vector<float>(M * N, 0.f)), dh(std::vector<float>(M * N, 0.f));
  Device<__nv_bfloat16> dha(ha), dhb(hb);
  run(
      "sgemm_64", 2. * M * N * K, "FLOP", [&] { sgemm_64<<<dim3(N / 64, M / 64), 256>>>(da.p, db.p, dc.p, M, N, K); },
      [&] { return worst(dc.get(), want(false)); });
  if (tensor_cores)
    run(
        "hgemm_mma", 2. * M * N * K, "FLOP",
        [&] { hgemm_mma<<<dim3(N / 64, M / 64), 128>>>(dha.p, dhb.p, dh.p, M, N, K); },
        [&] { return worst(dh.get(), want(true)); });
}

static void bench_flash() {
  const int T = 512;
  const auto q = random_vector(T * 64), k = random_vector(T * 64), v = random_vector(T * 64);
  Device<float> dq(q), dk(k), dv(v), d_o(std::vector<float>(T * 64, 0.f));
  run(
      "flash_causal", 4. * 64 * T * (T + 1) / 2, "FLOP",
      [&] { flash_causal<<<T / 64, 64>>>(dq.p, dk.p, dv.p, d_o.p, T); },
      [&] {
        std::vector<float> want(T * 64);
        for (int i = 0; i < T; i++) {
          std::vector<double> p(i + 1);
          double sum = 0;
          for (int j = 0; j <= i; j++) {
            double dot = 0;
            for (int d = 0; d < 64; d++) dot += static_cast<double>(q[i * 64 + d]) * k[j * 64 + d];
            sum += p[j] = std::exp(dot / 8);
          }
          for (int d = 0; d < 64; d++) {
            double o = 0;
            for (int j = 0; j <= i; j++) o += p[j] / sum * v[j * 64 + d];
            want[i * 64 + d] = static_cast<float>(o);
          }
        }
        return worst(d_o.get(), want);
      });
}

int main(int argc, char** argv) {
  bool tensor_cores = true;
  for (int i = 1; i < argc; i++) {
    if (!std::strcmp(argv[i], "--repeat") && i + 1 < argc) {
      repeat = std::atoi(argv[++i]);
    } else if (!std::strcmp(argv[i], "--seconds") && i + 1 < argc) {
      least_seconds = std::atof(argv[++i]);
    } else if (!std::strcmp(argv[i], "--cpu-time")) {
      cpu_time = true;
    } else if (!std::strcmp(argv[i], "--no-mma")) {
      tensor_cores = false;  // compiled for an architecture below 80
    } else {
      wanted.push_back(argv[i]);
    }
  }
  bench_rows();
  bench_norm();
  bench_gemm(tensor_cores);
  bench_flash();
  Device<int> out(std::vector<int>(4096, 0));
  run(
      "barriers", 1000. * 4096, "barrier", [&] { barriers<<<16, 256>>>(out.p, 1000); },
      [&] { return out.get()[4095] == 1000 ? 0. : 1.; });
  return failures != 0;
}
