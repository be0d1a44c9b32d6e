// Forward:  sampled  y[b, c] = docked[b, k(b, c), c]              expected  y[b, c] = sum_k p[b, k] docked[b, k, c]
// Backward: sampled  ddocked[b, k, c] = dy[b, c] if k = k(b, c), else 0   expected  ddocked[b, k, c] = p[b, k] dy[b, c]
// Saved: k(b, c), or p.
#include "kernels/embracement.h"

#include <vector>

#include "kernels/device/parallel.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace weft {

namespace {

template <class T>
void choose_forward(const T* docked, const int64_t* drawn, T* y, int64_t B, int64_t K, int64_t C) {
  parallel_for(B, std::max<int64_t>(1, elements_grain / std::max<int64_t>(C, 1)), [=](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const T* from = docked + b * K * C;
      for (int64_t c = 0; c < C; ++c) y[b * C + c] = from[drawn[b * C + c] * C + c];
    }
  });
}

template <class T>
void choose_backward(const T* dy, const int64_t* drawn, T* dx, int64_t B, int64_t K, int64_t C) {
  parallel_for(B, std::max<int64_t>(1, elements_grain / std::max<int64_t>(K * C, 1)), [=](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      for (int64_t k = 0; k < K; ++k) {
        T* to = dx + (b * K + k) * C;
        for (int64_t c = 0; c < C; ++c) to[c] = drawn[b * C + c] == k ? dy[b * C + c] : T(0);
      }
    }
  });
}

template <class T>
void expect_forward(const T* docked, const float* p, T* y, int64_t B, int64_t K, int64_t C) {
  using A = accumulator_t<T>;
  parallel_for(B, std::max<int64_t>(1, elements_grain / std::max<int64_t>(K * C, 1)), [=](int64_t begin, int64_t end) {
    std::vector<A> sum(C);
    for (int64_t b = begin; b < end; ++b) {
      std::fill(sum.begin(), sum.end(), A{0});
      for (int64_t k = 0; k < K; ++k) {
        const T* from = docked + (b * K + k) * C;
        const A weight = p[b * K + k];
        A* to = sum.data();
#pragma omp simd
        for (int64_t c = 0; c < C; ++c) to[c] += weight * static_cast<A>(from[c]);
      }
      for (int64_t c = 0; c < C; ++c) y[b * C + c] = T(sum[c]);
    }
  });
}

template <class T>
void expect_backward(const T* dy, const float* p, T* dx, int64_t B, int64_t K, int64_t C) {
  using A = accumulator_t<T>;
  parallel_for(B, std::max<int64_t>(1, elements_grain / std::max<int64_t>(K * C, 1)), [=](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      for (int64_t k = 0; k < K; ++k) {
        const A weight = p[b * K + k];
        const T* from = dy + b * C;
        T* to = dx + (b * K + k) * C;
#pragma omp simd
        for (int64_t c = 0; c < C; ++c) to[c] = T(weight * static_cast<A>(from[c]));
      }
    }
  });
}

// The rule of the header: cumulative sums in f32, in the order of k.
void draw(const float* weights, const PhiloxStream& stream, int64_t* drawn, int64_t B, int64_t K, int64_t C) {
  parallel_for(B, std::max<int64_t>(1, elements_grain / (16 * std::max<int64_t>(C, 1))),
               [=](int64_t begin, int64_t end) {
                 std::vector<float> cumulative(K);
                 for (int64_t b = begin; b < end; ++b) {
                   float sum = 0;
                   int64_t last = 0;
                   for (int64_t k = 0; k < K; ++k) {
                     sum += weights[b * K + k];
                     cumulative[k] = sum;
                     if (weights[b * K + k] > 0) last = k;
                   }
                   for (int64_t c = 0; c < C; ++c) {
                     const float at = stream.uniform(static_cast<uint64_t>(b * C + c)) * sum;
                     int64_t k = 0;
                     while (k < last && !(at < cumulative[k])) ++k;
                     drawn[b * C + c] = k;
                   }
                 }
               });
}

void check_weights(const Tensor& docked, const Tensor& weights) {
  const int64_t B = docked.dim(0), K = docked.dim(1);
  check(weights.defined() && weights.dtype() == DType::f32 && weights.shape() == Shape{B, K},
        "[embracement] weights must be f32 {} but is {} {}", Shape{B, K}, weights.dtype(), weights.shape());
  const float* w = weights.data<float>();
  for (int64_t b = 0; b < B; ++b) {
    float sum = 0;
    for (int64_t k = 0; k < K; ++k) {
      check(w[b * K + k] >= 0, "[embracement] weights must be at least 0 but row {} has {} for modality {}", b,
            w[b * K + k], k);
      sum += w[b * K + k];
    }
    check(sum > 0, "[embracement] every row needs a positive weight but row {} has none", b);
    check(std::isfinite(sum), "[embracement] weights must have a finite sum but row {} has {}", b, sum);
  }
}

void check_docked(const Tensor& docked) {
  check(docked.defined() && docked.rank() == 3, "[embracement] docked must be [B, K, C] but has shape {}",
        docked.shape());
}

}  // namespace

Tensor embracement(const Tensor& docked, const Tensor& drawn) {
  check_docked(docked);
  const int64_t B = docked.dim(0), K = docked.dim(1), C = docked.dim(2);
  check(drawn.defined() && drawn.dtype() == DType::i64 && drawn.shape() == Shape{B, C},
        "[embracement] drawn must be i64 {} but is {} {}", Shape{B, C}, drawn.dtype(), drawn.shape());
  const int64_t* index = drawn.data<int64_t>();
  for (int64_t i = 0; i < B * C; ++i) {
    check(index[i] >= 0 && index[i] < K, "[embracement] drawn must be in [0, {}) but element {} is {}", K, i, index[i]);
  }
  Tensor y = Tensor::empty({B, C}, docked.dtype(), docked.device());
  on_device("embracement", docked, [&]<class T> { choose_forward(docked.data<T>(), index, y.data<T>(), B, K, C); });
  return record("embracement", y, {docked}, [drawn, B, K, C](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::empty({B, K, C}, dy.dtype(), dy.device());
    on_device("embracement", dy,
              [&]<class T> { choose_backward(dy.data<T>(), drawn.data<int64_t>(), dx.data<T>(), B, K, C); });
    return {dx};
  });
}

Tensor embracement(const Tensor& docked, const Tensor& weights, Random* random, const EmbracementOptions& options) {
  check_docked(docked);
  check_weights(docked, weights);
  const int64_t B = docked.dim(0), K = docked.dim(1), C = docked.dim(2);
  if (!options.expected) {
    check(random != nullptr, "[embracement] a draw needs a random generator but none was given");
    const Tensor drawn = Tensor::empty({B, C}, DType::i64);
    draw(weights.data<float>(), random->reserve(static_cast<uint64_t>(B * C)), drawn.data<int64_t>(), B, K, C);
    return embracement(docked, drawn);
  }
  const Tensor p = weights.detach().clone();
  for (int64_t b = 0; b < B; ++b) {
    float* row = p.data<float>() + b * K;
    float sum = 0;
    for (int64_t k = 0; k < K; ++k) sum += row[k];
    for (int64_t k = 0; k < K; ++k) row[k] /= sum;
  }
  Tensor y = Tensor::empty({B, C}, docked.dtype(), docked.device());
  on_device("embracement", docked,
            [&]<class T> { expect_forward(docked.data<T>(), p.data<float>(), y.data<T>(), B, K, C); });
  return record("embracement", y, {docked}, [p, B, K, C](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::empty({B, K, C}, dy.dtype(), dy.device());
    on_device("embracement", dy,
              [&]<class T> { expect_backward(dy.data<T>(), p.data<float>(), dx.data<T>(), B, K, C); });
    return {dx};
  });
}

}  // namespace weft
