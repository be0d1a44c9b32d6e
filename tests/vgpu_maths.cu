// The functions of vgpu_maths.inc in f32 and f64, and integer arithmetic, one thread an argument. Run by
// vgpu_maths_test.cc.
#include <cstdint>

template <class T>
__device__ void functions(T x, T y, T* out) {
  using R = T;
  int i = 0;
#define VGPU_F(name, expression, bound) out[i++] = expression;
#include "vgpu_maths.inc"
#undef VGPU_F
}

extern "C" __global__ void maths_f32(const float* x, const float* y, float* out, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  functions(x[i], y[i], out + i * count);
}

extern "C" __global__ void maths_f64(const float* x, const float* y, double* out, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  functions(static_cast<double>(x[i]), static_cast<double>(y[i]), out + i * count);
}

__host__ __device__ inline uint64_t mix(uint64_t v) {
  v = (v ^ v >> 31) * 0x9e3779b97f4a7c15ull;
  return v ^ v >> 29;
}

extern "C" __global__ void integers(uint64_t* out) {
  const uint64_t i = blockIdx.x * blockDim.x + threadIdx.x, a = mix(i + 1), b = mix(i + 1000) >> (i % 60) | 1;
  uint64_t* o = out + i * 8;
  o[0] = a / b;
  o[1] = a % b;
  o[2] = static_cast<uint64_t>(static_cast<int64_t>(a) / static_cast<int64_t>(b));
  o[3] = static_cast<uint64_t>(static_cast<int64_t>(a) % static_cast<int64_t>(b));
  o[4] = static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
  o[5] = static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(a) % static_cast<int32_t>(b | 2)));
  o[6] = static_cast<uint64_t>((static_cast<unsigned __int128>(a) * b) >> 64);
  o[7] = static_cast<uint64_t>((static_cast<unsigned __int128>(a) << 64 | b) / (b >> 1 | 3));
}
