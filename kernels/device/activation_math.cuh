// The activations on the cuda device, as kernels/device/activation_math.h has them for the cpu: `value(x)` is y; `slope` is dy/dx,
// from x or, where that is cheaper and exact enough, from y (`from_result`).
#pragma once

#include "kernels/device/launch.cuh"

namespace weft::device {

__device__ inline float sigmoid_of(float x) { return 1 / (1 + expf(-x)); }

struct Relu {
  __device__ static float value(float x) { return x < 0 ? 0.0f : x; }  // NaN stays NaN
  __device__ static float slope(float y) { return y <= 0 ? 0.0f : 1.0f; }
};

/// x Phi(x), Phi the standard normal distribution function.
struct Gelu {
  __device__ static float value(float x) { return 0.5f * x * (1 + erff(x * 0.70710678118654752f)); }
  __device__ static float slope(float x) {
    return 0.5f * (1 + erff(x * 0.70710678118654752f)) + x * 0.39894228040143268f * expf(-0.5f * x * x);
  }
};

/// 0.5 x (1 + tanh(u)) = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).
struct GeluTanh {
  static constexpr float a = 1.5957691216057308f, b = a * 0.044715f;  // 2 u = a x + b x^3
  __device__ static float gate(float x) { return sigmoid_of(x * (a + b * x * x)); }
  __device__ static float value(float x) { return x * gate(x); }
  __device__ static float slope(float x) {
    const float s = gate(x);
    return s + x * s * (1 - s) * (a + 3 * b * x * x);
  }
};

struct Silu {
  __device__ static float value(float x) { return x * sigmoid_of(x); }
  __device__ static float slope(float x) {
    const float s = sigmoid_of(x);
    return s + x * s * (1 - s);
  }
};

struct Sigmoid {
  __device__ static float value(float x) { return sigmoid_of(x); }
  __device__ static float slope(float y) { return y * (1 - y); }
};

struct Tanh {
  __device__ static float value(float x) { return tanhf(x); }
  __device__ static float slope(float y) { return 1 - y * y; }
};

struct Exp {
  __device__ static float value(float x) { return expf(x); }
  __device__ static float slope(float y) { return y; }
};

struct Log {
  __device__ static float value(float x) { return logf(x); }
  __device__ static float slope(float x) { return 1 / x; }
};

struct Sin {
  __device__ static float value(float x) { return sinf(x); }
  __device__ static float slope(float x) { return cosf(x); }
};

struct Cos {
  __device__ static float value(float x) { return cosf(x); }
  __device__ static float slope(float x) { return -sinf(x); }
};

}  // namespace weft::device
