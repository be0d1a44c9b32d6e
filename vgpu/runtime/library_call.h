#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

extern "C" {

/// `height` rows of `width` bytes, `pitch` bytes apart.
struct VgpuRange {
  const void* address;
  size_t pitch, width, height;
};

/// A call of a library stand-in (cuBLAS, cuDNN), which the host computes when the stream comes to it.
struct VgpuLibraryCall {
  const char* name;  ///< with its sizes: what reports and counts call it
  const VgpuRange* reads;
  size_t read_count;
  const VgpuRange* writes;
  size_t write_count;
  double flop;
  double flop_rate_of_f16;  ///< the unit's peak as a part of the f16 tensor peak: 1 f16, 0.5 tf32
  void (*compute)(void*);
  void (*release)(void*);
  void* data;
};

/// The only thing that libcudart's stand-in exports beside CUDA's own names. Takes `data`, and releases it whatever
/// happens.
cudaError_t vgpu_library_call(cudaStream_t stream, const VgpuLibraryCall* call);
}

namespace vgpu {

struct LibraryCall {
  std::string name;
  std::vector<VgpuRange> reads, writes;
  double flop = 0, flop_rate_of_f16 = 1;
};

/// The same for callers in C++.
inline cudaError_t library_call(cudaStream_t stream, const LibraryCall& call, std::function<void()> compute) {
  auto* data = new std::function<void()>(std::move(compute));
  VgpuLibraryCall plain{call.name.c_str(),
                        call.reads.data(),
                        call.reads.size(),
                        call.writes.data(),
                        call.writes.size(),
                        call.flop,
                        call.flop_rate_of_f16,
                        [](void* f) { (*static_cast<std::function<void()>*>(f))(); },
                        [](void* f) { delete static_cast<std::function<void()>*>(f); },
                        data};
  return vgpu_library_call(stream, &plain);
}

}  // namespace vgpu
