#include "tensor/host_work.h"

#ifdef WEFT_HAS_CUDA
#include "tensor/cuda.h"
#include "tensor/cuda_graph.h"
#endif

namespace weft {

bool recording_graph() {
#ifdef WEFT_HAS_CUDA
  return cuda::recording() != nullptr;
#else
  return false;
#endif
}

void on_each_launch(std::function<void()> work) {
#ifdef WEFT_HAS_CUDA
  if (cuda::Recording* recording = cuda::recording()) return recording->before_launch.push_back(std::move(work));
#endif
  work();
}

#ifdef WEFT_HAS_CUDA
namespace {

Tensor on_every_launch(cuda::Recording& recording, const Tensors& read, std::function<Tensor()> compute) {
  for (const Tensor& t : read) {
    check(t.device() == Device::cpu && t.storage()->id < recording.first_storage,
          "[cuda graph] a host tensor that was computed while recording would stay what it was; make it before");
  }
  const Tensor first = compute();
  const Tensor there = recording.allocate_outside(first.shape(), first.dtype());
  on_each_launch([there, compute = std::move(compute)] {
    const Tensor now = compute();
    check(now.shape() == there.shape() && now.dtype() == there.dtype(),
          "[cuda graph] what the host computes must stay {} {} but is {} {}", there.dtype(), there.shape(), now.dtype(),
          now.shape());
    cuda::copy_to_device(there.raw(), now.raw(), there.nbytes());
  });
  return there;
}

}  // namespace
#endif

Tensor from_host(Device device, [[maybe_unused]] const Tensors& read, std::function<Tensor()> compute) {
#ifdef WEFT_HAS_CUDA
  cuda::Recording* recording = cuda::recording();
  if (recording && device == Device::cuda) return on_every_launch(*recording, read, std::move(compute));
#endif
  return compute().to(device);
}

}  // namespace weft
