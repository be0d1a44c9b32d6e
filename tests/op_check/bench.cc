#include <time.h>

#include <algorithm>
#include <cstring>

#include "kernels/device/doors.h"
#include "kernels/device/parallel.h"
#include "op_check/check.h"
#include "op_check/sample.h"
#include "tensor/autograd.h"
#ifdef WEFT_HAS_CUDA
#include "tensor/cuda.h"
#endif

namespace weft::op_check {

namespace {

// Seconds on the host: of the clock, or for a single thread of processor time, which other work on the machine stretches less.
double now() {
  timespec t;
  clock_gettime(omp_get_max_threads() == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// Seconds that a call takes: on the host, or on cuda by the GPU's clock, between two events in the stream.
double time_of(const std::function<void()>& call, Device device) {
#ifdef WEFT_HAS_CUDA
  if (device == Device::cuda) {
    cuda::Event begin, end;
    begin.record();
    call();
    end.record();
    return end.milliseconds_since(begin) * 1e-3;
  }
#endif
  check(device == Device::cpu, "[bench] this build has no device {}", device);
  const double start = now();
  call();
  return now() - start;
}

// How often the op and the library take turns.
constexpr int turns = 5;

// Best time of one call, over `seconds` of calls and at least 3.
double best_time(const std::function<void()>& call, double seconds, Device device) {
  call();
  double best = 1e30, total = 0;
  for (int i = 0; i < 3 || total < seconds; ++i) {
    const double t = time_of(call, device);
    best = std::min(best, t);
    total += t;
  }
  return best;
}

// Bytes read and written per second by memcpy over all threads, or by CUDA's copy on the GPU, on buffers larger than the caches.
// Measured once a run.
double copy_bandwidth(Device device) {
  static const double bandwidth = [device] {
#ifdef WEFT_HAS_CUDA
    if (device == Device::cuda) {
      const Tensor a = Tensor::zeros({256 << 20}, DType::u8, device), b = empty_like(a);
      return 2.0 * a.nbytes() / best_time([&] { cuda::copy_on_device(b.raw(), a.raw(), a.nbytes()); }, 0.1, device);
    }
#endif
    const Tensor a = Tensor::zeros({256 << 20}, DType::u8), b = Tensor::zeros({256 << 20}, DType::u8);
    const double t = best_time([&] {
      parallel_for(a.numel(), 1 << 20, [&](int64_t begin, int64_t end) {
        std::memcpy(b.data<uint8_t>() + begin, a.data<uint8_t>() + begin, end - begin);
      });
    }, 0.5, device);
    return 2.0 * a.nbytes() / t;
  }();
  return bandwidth;
}

// Best times of the op's call and of the library's version of the same work, 0 if it has none. On the host they take turns, so
// that what else the machine does meets both.
struct Times {
  double own, library;
};
Times best_times(const Op& op, const Bench& b, const std::function<void()>& call, DType dtype, double seconds, Device device) {
  if (b.flops <= 0) return {best_time(call, seconds, device), 0};
  if (device == Device::cpu && b.peer) {
    const auto peer = b.peer(dtype);
    Times best{1e30, 1e30};
    for (int turn = 0; turn < turns; ++turn) {
      best.own = std::min(best.own, best_time(call, seconds / turns, device));
      best.library = std::min(best.library, best_time(peer, seconds / turns, device));
    }
    return best;
  }
  const double own = best_time(call, seconds, device);
  if (device == Device::cpu || (op.name != "matmul" && op.name != "linear" && op.name != "conv2d")) return {own, 0};
  choose_gemm("cublas");
  choose_conv("cudnn");
  const double library = best_time(call, seconds, device);
  choose_gemm("own");
  choose_conv("own");
  return {own, library};
}

}  // namespace

void bench(const Op& op, double seconds, Device device) {
  for (const Bench& b : op.benches) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      Random random{1};
      const Tensors inputs = as_dtype(sample(b.inputs, dtype, random), b.inputs, dtype, b.backward, device);
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
      const auto [t, library] = best_times(op, b, call, dtype, seconds, device);
      std::string rate, ceiling;
      if (b.flops > 0) {
        rate = fmt::format("{:9.1f} GFLOP/s", b.flops / t * 1e-9);
        if (library > 0) ceiling = fmt::format("{:5.1f} % of the plain library call", 100 * library / t);
      } else {
        const double bytes = b.bytes * size_of(dtype);
        rate = fmt::format("{:9.2f} GB/s   ", bytes / t * 1e-9);
        ceiling = fmt::format("{:5.1f} % of copy ({:.1f} GB/s)", 100 * bytes / t / copy_bandwidth(device), copy_bandwidth(device) * 1e-9);
      }
      fmt::print("{:<16} {:<34} {:<5} {:9.3f} ms {} {}\n", op.name, b.name, dtype, t * 1e3, rate, ceiling);
      std::fflush(stdout);
    }
  }
}

}  // namespace weft::op_check
