// Forward:  sampled  y[b, c] = docked[b, k(b, c), c]              expected  y[b, c] = sum_k p[b, k] docked[b, k, c]
// Backward: sampled  ddocked[b, k, c] = dy[b, c] if k = k(b, c), else 0   expected  ddocked[b, k, c] = p[b, k] dy[b, c]
// Saved: k(b, c), or p.
#include "kernels/embracement.h"

#include <vector>

#include "kernels/device/parallel.h"
#include "kernels/device/philox_lanes.h"
#include "kernels/device/rows.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"
#include "tensor/host_work.h"

namespace weft {

// kernels/embracement.cu
void draw_cuda(const Tensor& weights, const Tensor& drawn, const PhiloxStream& stream);
void choose_forward_cuda(const Tensor& docked, const Tensor& drawn, const Tensor& y);
void choose_backward_cuda(const Tensor& dy, const Tensor& drawn, const Tensor& dx);
void expect_forward_cuda(const Tensor& docked, const Tensor& p, const Tensor& y);
void expect_backward_cuda(const Tensor& dy, const Tensor& p, const Tensor& dx);

namespace {

template <class T, class Index>
void choose_forward(const T* docked, const Index* drawn, T* y, int64_t B, int64_t K, int64_t C) {
  parallel_for(B, std::max<int64_t>(1, elements_grain / std::max<int64_t>(C, 1)), [=](int64_t begin, int64_t end) {
    using A = accumulator_t<T>;
    RowWriter<T> out(y + begin * C, streams<T>(B * C));
    std::vector<A> row(C);
    for (int64_t b = begin; b < end; ++b) {
      // All rows are read, for their lines of memory come in any case, and this vectorises.
      for (int64_t k = 0; k < K; ++k) {
        const T* from = docked + (b * K + k) * C;
        const Index* index = drawn + b * C;
        A* to = row.data();
#pragma omp simd
        for (int64_t c = 0; c < C; ++c) {
          const A v = from[c];
          to[c] = index[c] == k ? v : to[c];
        }
      }
      out.write(C, [from = row.data()](int64_t c) { return from[c]; });
    }
  });
}

template <class T, class Index>
void choose_backward(const T* dy, const Index* drawn, T* dx, int64_t B, int64_t K, int64_t C) {
  using A = accumulator_t<T>;
  parallel_for(B, std::max<int64_t>(1, elements_grain / std::max<int64_t>(K * C, 1)), [=](int64_t begin, int64_t end) {
    RowWriter<T> out(dx + begin * K * C, streams<T>(B * K * C));
    for (int64_t b = begin; b < end; ++b) {
      const T* from = dy + b * C;
      const Index* index = drawn + b * C;
      for (int64_t k = 0; k < K; ++k) {
        out.write(C, [=](int64_t c) {
          const A v = from[c];  // loaded in any case, so that the loop vectorises
          return index[c] == k ? v : A{0};
        });
      }
    }
  });
}

template <class T>
void expect_forward(const T* docked, const float* p, T* y, int64_t B, int64_t K, int64_t C) {
  using A = accumulator_t<T>;
  parallel_for(B, std::max<int64_t>(1, elements_grain / std::max<int64_t>(K * C, 1)), [=](int64_t begin, int64_t end) {
    std::vector<A> sum(C);
    RowWriter<T> out(y + begin * C, streams<T>(B * C));
    for (int64_t b = begin; b < end; ++b) {
      std::fill(sum.begin(), sum.end(), A{0});
      for (int64_t k = 0; k < K; ++k) {
        const T* from = docked + (b * K + k) * C;
        const A weight = p[b * K + k];
        A* to = sum.data();
#pragma omp simd
        for (int64_t c = 0; c < C; ++c) to[c] += weight * static_cast<A>(from[c]);
      }
      out.write(C, [from = sum.data()](int64_t c) { return from[c]; });
    }
  });
}

template <class T>
void expect_backward(const T* dy, const float* p, T* dx, int64_t B, int64_t K, int64_t C) {
  using A = accumulator_t<T>;
  parallel_for(B, std::max<int64_t>(1, elements_grain / std::max<int64_t>(K * C, 1)), [=](int64_t begin, int64_t end) {
    RowWriter<T> out(dx + begin * K * C, streams<T>(B * K * C));
    for (int64_t b = begin; b < end; ++b) {
      for (int64_t k = 0; k < K; ++k) {
        out.write(C, [from = dy + b * C, weight = static_cast<A>(p[b * K + k])](int64_t c) { return weight * static_cast<A>(from[c]); });
      }
    }
  });
}

// The rule of the header: cumulative sums in f32, in the order of k. k(b, c) is counted: one for every k < last with cumulative[k] <= at.
void draw(const float* weights, const PhiloxStream& stream, int32_t* drawn, int64_t B, int64_t K, int64_t C) {
  parallel_for(B, std::max<int64_t>(1, elements_grain / (16 * std::max<int64_t>(C, 1))), [=](int64_t begin, int64_t end) {
    std::vector<float> cumulative(K);
    uint32_t words[4 * philox_lanes];
    for (int64_t b = begin; b < end; ++b) {
      float sum = 0;
      int64_t last = 0;
      for (int64_t k = 0; k < K; ++k) {
        sum += weights[b * K + k];
        cumulative[k] = sum;
        if (weights[b * K + k] > 0) last = k;
      }
      for (int64_t i = b * C; i < (b + 1) * C;) {
        const int64_t skip = i % 4, count = std::min(4 * philox_lanes - skip, (b + 1) * C - i);
        philox_words(stream, i / 4, words);
        int32_t* chosen = drawn + i;
        std::fill(chosen, chosen + count, 0);
        for (int64_t k = 0; k < last; ++k) {
          const float below = cumulative[k];
#pragma omp simd
          for (int64_t j = 0; j < count; ++j) chosen[j] += uniform_from_bits(words[skip + j]) * sum >= below;
        }
        i += count;
      }
    }
  });
}

// Returns the weights on the cpu.
Tensor checked_weights(const Tensor& docked, const Tensor& weights) {
  const int64_t B = docked.dim(0), K = docked.dim(1);
  check(weights.defined() && weights.dtype() == DType::f32 && weights.shape() == Shape{B, K},
        "[embracement] weights must be f32 {} but is {} {}", Shape{B, K}, weights.dtype(), weights.shape());
  const Tensor host = weights.detach().to(Device::cpu);
  on_each_launch([host, B, K] {
    const float* w = host.data<float>();
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
  });
  return host;
}

// Rows divided by their sums.
Tensor probabilities(const Tensor& weights) {
  const Tensor p = weights.clone();
  const int64_t K = p.cols();
  for (int64_t b = 0; b < p.rows(); ++b) {
    float* row = p.data<float>() + b * K;
    float sum = 0;
    for (int64_t k = 0; k < K; ++k) sum += row[k];
    for (int64_t k = 0; k < K; ++k) row[k] /= sum;
  }
  return p;
}

void check_docked(const Tensor& docked) {
  check(docked.defined() && docked.rank() == 3, "[embracement] docked must be [B, K, C] but has shape {}",
        docked.shape());
}

// `drawn` holds Index and is known to be in range.
template <class Index> Tensor choose(const Tensor& docked, const Tensor& drawn) {
  const int64_t B = docked.dim(0), K = docked.dim(1), C = docked.dim(2);
  Tensor y = Tensor::empty({B, C}, docked.dtype(), docked.device());
  on_device("embracement", docked, [&]<class T> { choose_forward(docked.data<T>(), drawn.data<Index>(), y.data<T>(), B, K, C); },
            [&] { choose_forward_cuda(docked, drawn, y); });
  return record("embracement", y, {docked}, [drawn, B, K, C](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::empty({B, K, C}, dy.dtype(), dy.device());
    on_device("embracement", dy, [&]<class T> { choose_backward(dy.data<T>(), drawn.data<Index>(), dx.data<T>(), B, K, C); },
              [&] { choose_backward_cuda(dy, drawn, dx); });
    return {dx};
  });
}

}  // namespace

Tensor embracement(const Tensor& docked, const Tensor& drawn) {
  check_docked(docked);
  const int64_t B = docked.dim(0), K = docked.dim(1), C = docked.dim(2);
  check(drawn.defined() && drawn.dtype() == DType::i64 && drawn.shape() == Shape{B, C},
        "[embracement] drawn must be i64 {} but is {} {}", Shape{B, C}, drawn.dtype(), drawn.shape());
  const Tensor host = drawn.detach().to(Device::cpu);
  const int64_t* index = host.data<int64_t>();
  int64_t lowest = 0, highest = 0;
#pragma omp simd reduction(min : lowest) reduction(max : highest)
  for (int64_t i = 0; i < B * C; ++i) {
    lowest = std::min(lowest, index[i]);
    highest = std::max(highest, index[i]);
  }
  for (int64_t i = 0; (lowest < 0 || highest >= K) && i < B * C; ++i) {
    check(index[i] >= 0 && index[i] < K, "[embracement] drawn must be in [0, {}) but element {} is {}", K, i, index[i]);
  }
  return choose<int64_t>(docked, drawn.detach().to(docked.device()));
}

Tensor embracement(const Tensor& docked, const Tensor& weights, Random* random, const EmbracementOptions& options) {
  check_docked(docked);
  const Tensor host_weights = checked_weights(docked, weights);
  const int64_t B = docked.dim(0), K = docked.dim(1), C = docked.dim(2);
  if (!options.expected) {
    check(random != nullptr, "[embracement] a draw needs a random generator but none was given");
    const Tensor drawn = Tensor::empty({B, C}, DType::i32, docked.device());
    const PhiloxStream stream = random->reserve(static_cast<uint64_t>(B * C));
    on_place(docked, [&] { draw(host_weights.data<float>(), stream, drawn.data<int32_t>(), B, K, C); },
             [&] { draw_cuda(weights.detach().to(Device::cuda), drawn, stream); });
    return choose<int32_t>(docked, drawn);
  }
  const Tensor p = from_host(docked.device(), {host_weights}, [=] { return probabilities(host_weights); });
  Tensor y = Tensor::empty({B, C}, docked.dtype(), docked.device());
  on_device("embracement", docked,
            [&]<class T> { expect_forward(docked.data<T>(), p.data<float>(), y.data<T>(), B, K, C); },
            [&] { expect_forward_cuda(docked, p, y); });
  return record("embracement", y, {docked}, [p, B, K, C](const Tensor& dy) -> Tensors {
    Tensor dx = Tensor::empty({B, K, C}, dy.dtype(), dy.device());
    on_device("embracement", dy,
              [&]<class T> { expect_backward(dy.data<T>(), p.data<float>(), dx.data<T>(), B, K, C); },
              [&] { expect_backward_cuda(dy, p, dx); });
    return {dx};
  });
}

}  // namespace weft
