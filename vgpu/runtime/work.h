#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "vgpu/runtime/library_call.h"
#include "vgpu/runtime/runtime.h"

namespace vgpu {

/// What a stream or a graph node can do.
struct KernelWork {
  DeviceFunction* function;
  Dim3 grid, block;
  size_t dynamic_shared;
  std::vector<std::byte> parameters;  // laid out as the kernel says
};
struct CopyWork {
  void* to;
  size_t to_pitch;
  const void* from;
  size_t from_pitch;
  size_t width, height;  // bytes, rows
  cudaMemcpyKind kind;
};
struct FillWork {
  void* to;
  size_t pitch;
  unsigned value;
  size_t element;        // 1, 2 or 4 bytes
  size_t width, height;  // elements, rows
};
struct HostWork {
  cudaHostFn_t function;
  void* data;
};
struct EmptyWork {};
/// A call of a library stand-in, computed on the host.
struct LibraryWork {
  std::string name;
  std::vector<VgpuRange> reads, writes;
  double flop, flop_rate_of_f16;
  std::function<void()> compute;
};
using Work = std::variant<KernelWork, CopyWork, FillWork, HostWork, EmptyWork, LibraryWork>;

/// Checks the launch as the real runtime would; throws CudaError.
KernelWork make_kernel_work(Runtime& runtime, DeviceFunction& function, dim3 grid, dim3 block, void** arguments,
                            size_t dynamic_shared);
/// A copy whose kind is settled and whose ranges lie in allocations; throws CudaError.
CopyWork make_copy(Runtime& runtime, CopyWork copy);
FillWork make_fill(Runtime& runtime, FillWork fill);

/// Checks what the call reads and writes, and computes it. Returns its bound in seconds.
double run_library(Runtime& runtime, const LibraryWork& work);

/// Runs it now. Returns the seconds that the modelled clock gives it.
double execute(Runtime& runtime, const Work& work, const Stream& stream);

/// Queues it on the stream, or adds a node where the stream is being captured. Returns null then.
OperationPtr enqueue(Runtime& runtime, Stream& stream, Work work);

}  // namespace vgpu
