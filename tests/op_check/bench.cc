#include <algorithm>
#include <chrono>
#include <cstring>

#include "kernels/device/parallel.h"
#include "op_check/check.h"
#include "op_check/sample.h"
#include "tensor/autograd.h"

namespace weft::op_check {

namespace {

using Clock = std::chrono::steady_clock;

// Best time of one call, over `seconds` of calls and at least 3.
double best_time(const std::function<void()>& call, double seconds) {
  call();
  double best = 1e30, total = 0;
  for (int i = 0; i < 3 || total < seconds; ++i) {
    const auto start = Clock::now();
    call();
    const double t = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, t);
    total += t;
  }
  return best;
}

// Bytes read and written per second by memcpy over all threads, on buffers larger than the caches. Measured once a run.
double copy_bandwidth() {
  static const double bandwidth = [] {
    const Tensor a = Tensor::zeros({256 << 20}, DType::u8), b = Tensor::zeros({256 << 20}, DType::u8);
    const double t = best_time([&] {
      parallel_for(a.numel(), 1 << 20, [&](int64_t begin, int64_t end) {
        std::memcpy(b.data<uint8_t>() + begin, a.data<uint8_t>() + begin, end - begin);
      });
    }, 0.5);
    return 2.0 * a.nbytes() / t;
  }();
  return bandwidth;
}

}  // namespace

void bench(const Op& op, double seconds) {
  for (const Bench& b : op.benches) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      Random random{1};
      const Tensors inputs = as_dtype(sample(b.inputs, dtype, random), b.inputs, dtype, b.backward);
      Tensor dy;
      if (b.backward) {
        dy = zeros_like(b.run(inputs).detach());
        dy.fill(0.5);
      }
      const auto call = [&] {
        if (b.backward) {
          backward(b.run(inputs), dy);
          for (const Tensor& x : inputs) x.clear_grad();
        } else {
          const NoGrad no_grad;
          b.run(inputs);
        }
      };
      const double t = best_time(call, seconds);
      std::string rate, ceiling;
      if (b.flops > 0) {
        rate = fmt::format("{:9.1f} GFLOP/s", b.flops / t * 1e-9);
        if (b.peer) ceiling = fmt::format("{:5.1f} % of the plain library call", 100 * best_time(b.peer(dtype), seconds) / t);
      } else {
        const double bytes = b.bytes * size_of(dtype);
        rate = fmt::format("{:9.2f} GB/s   ", bytes / t * 1e-9);
        ceiling = fmt::format("{:5.1f} % of copy ({:.1f} GB/s)", 100 * bytes / t / copy_bandwidth(), copy_bandwidth() * 1e-9);
      }
      fmt::print("{:<16} {:<34} {:<5} {:9.3f} ms {} {}\n", op.name, b.name, dtype, t * 1e3, rate, ceiling);
      std::fflush(stdout);
    }
  }
}

}  // namespace weft::op_check
