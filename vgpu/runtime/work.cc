#include "vgpu/runtime/work.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstring>

#include "vgpu/runtime/graph.h"

namespace vgpu {
namespace {

constexpr uint32_t max_grid_yz = 65535;
constexpr uint32_t max_grid_x = 0x7fffffff;
constexpr uint32_t max_block_z = 64;

Dim3 to_dim3(dim3 d) { return {d.x, d.y, d.z}; }

bool is_device(const std::optional<Allocation>& allocation) {
  return allocation && allocation->kind != MemoryKind::host;
}

// Bytes from the first to behind the last of a pitched rectangle.
size_t extent(size_t pitch, size_t width, size_t height) { return height ? pitch * (height - 1) + width : 0; }

// A range that begins in device memory must end in the same allocation.
void require_inside(Runtime& runtime, const void* address, size_t bytes, const char* what) {
  if (bytes == 0) return;
  auto start = runtime.machine.memory().find(address);
  if (!start || runtime.machine.memory().find(address, bytes)) return;
  size_t offset = reinterpret_cast<uint64_t>(address) - start->address;
  std::fprintf(stderr, "vgpu: out of bounds: %s of %zu bytes at offset %zu of %s\n", what, bytes, offset,
               start->name.c_str());
  throw CudaError{cudaErrorInvalidValue};
}

// Adds the launch that has just ended to its kernel's account; its bound in seconds.
double account_for(Runtime& runtime, const KernelWork& work, const KernelCounts& counts) {
  const Kernel& kernel = *work.function->kernel;
  Account& account = runtime.accounts.find(kernel.name, work.grid, work.block, work.dynamic_shared);
  if (account.counts.launches == 0) {
    account.static_shared = kernel.static_shared;
    account.local_bytes = kernel.local_bytes;
    account.resources = work.function->resources;
    account.occupancy = occupancy(runtime.gpu, account.resources, kernel.static_shared, work.dynamic_shared,
                                  static_cast<int>(work.block.count()), work.function->max_dynamic_shared);
  }
  account.bound = speed_of_light(runtime.gpu, counts, work.grid.count());
  account.seconds += account.bound.seconds;
  add_counts(account.counts, counts);
  return account.bound.seconds;
}

double run_kernel(Runtime& runtime, const KernelWork& work, const Stream& stream) {
  Machine& machine = runtime.machine;
  Launch launch{work.function->kernel, work.grid, work.block, work.dynamic_shared, work.parameters.data(), ""};
  if (stream.number) launch.label = fmt::format("stream {}", stream.number);
  if (runtime.accounting) machine.reset_counts();
  try {
    machine.launch(launch);
  } catch (const Fault&) {
    return 0;  // the fault handler has set the sticky error
  }
  if (!runtime.accounting) return 0;
  std::vector<KernelCounts> counts = machine.counts();
  return counts.empty() ? 0 : account_for(runtime, work, counts.front());
}

double run_copy(Runtime& runtime, const CopyWork& copy) {
  auto* to = static_cast<char*>(copy.to);
  auto* from = static_cast<const char*>(copy.from);
  Memory& memory = runtime.machine.memory();
  for (size_t row = 0; row < copy.height; ++row) {
    std::memmove(to, from, copy.width);
    if (copy.kind == cudaMemcpyDeviceToDevice) memory.copied(to, from, copy.width);
    if (copy.kind == cudaMemcpyHostToDevice) memory.written(to, copy.width);
    to += copy.to_pitch;
    from += copy.from_pitch;
  }
  double bytes = static_cast<double>(copy.width) * static_cast<double>(copy.height);
  if (copy.kind == cudaMemcpyDeviceToDevice) return 2 * bytes / runtime.gpu.memory_bandwidth;
  return copy.kind == cudaMemcpyHostToHost ? 0 : bytes / runtime.gpu.link_bandwidth;
}

double run_fill(Runtime& runtime, const FillWork& fill) {
  auto* row = static_cast<char*>(fill.to);
  size_t bytes = fill.width * fill.element;
  for (size_t y = 0; y < fill.height; ++y, row += fill.pitch) {
    for (size_t x = 0; x < fill.width; ++x) std::memcpy(row + x * fill.element, &fill.value, fill.element);
    runtime.machine.memory().written(row, bytes);
  }
  return static_cast<double>(bytes * fill.height) / runtime.gpu.memory_bandwidth;
}

}  // namespace

KernelWork make_kernel_work(Runtime& runtime, DeviceFunction& function, dim3 grid, dim3 block, void** arguments,
                            size_t dynamic_shared) {
  const Kernel& kernel = *function.kernel;
  uint64_t threads = to_dim3(block).count();
  require(grid.x && grid.y && grid.z && block.x && block.y && block.z, cudaErrorInvalidConfiguration);
  require(grid.x <= max_grid_x && grid.y <= max_grid_yz && grid.z <= max_grid_yz, cudaErrorInvalidConfiguration);
  require(block.x <= max_threads_per_block && block.y <= max_threads_per_block && block.z <= max_block_z &&
              threads <= max_threads_per_block,
          cudaErrorInvalidConfiguration);
  require(threads <= kernel.max_threads, cudaErrorLaunchOutOfResources);
  require(threads * static_cast<uint64_t>(function.resources.registers) <= registers_per_sm,
          cudaErrorLaunchOutOfResources);
  require(dynamic_shared <= function.max_dynamic_shared);
  require(kernel.static_shared + dynamic_shared <= runtime.gpu.shared_per_block_optin);
  KernelWork work{&function, to_dim3(grid), to_dim3(block), dynamic_shared,
                  std::vector<std::byte>(kernel.parameter_bytes)};
  for (size_t i = 0; i < kernel.parameters.size(); ++i) {
    const Parameter& parameter = kernel.parameters[i];
    require(arguments && arguments[i]);
    std::memcpy(work.parameters.data() + parameter.offset, arguments[i], parameter.bytes);
  }
  return work;
}

CopyWork make_copy(Runtime& runtime, CopyWork copy) {
  if (copy.width == 0 || copy.height == 0) return copy;
  require(copy.to && copy.from);
  require(copy.height == 1 || (copy.to_pitch >= copy.width && copy.from_pitch >= copy.width),
          cudaErrorInvalidPitchValue);
  require(copy.kind >= cudaMemcpyHostToHost && copy.kind <= cudaMemcpyDefault, cudaErrorInvalidMemcpyDirection);
  size_t to_bytes = extent(copy.to_pitch, copy.width, copy.height);
  size_t from_bytes = extent(copy.from_pitch, copy.width, copy.height);
  require_inside(runtime, copy.to, to_bytes, "copy to");
  require_inside(runtime, copy.from, from_bytes, "copy from");
  auto to = runtime.machine.memory().find(copy.to), from = runtime.machine.memory().find(copy.from);
  if (copy.kind == cudaMemcpyHostToDevice || copy.kind == cudaMemcpyDeviceToDevice) require(to.has_value());
  if (copy.kind == cudaMemcpyDeviceToHost || copy.kind == cudaMemcpyDeviceToDevice) require(from.has_value());
  bool to_device = is_device(to), from_device = is_device(from);
  if (to_device) {
    copy.kind = from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice;
  } else {
    copy.kind = from_device ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost;
  }
  return copy;
}

FillWork make_fill(Runtime& runtime, FillWork fill) {
  if (fill.width == 0 || fill.height == 0) return fill;
  size_t bytes = fill.width * fill.element;
  require(fill.height == 1 || fill.pitch >= bytes, cudaErrorInvalidPitchValue);
  size_t all = extent(fill.pitch, bytes, fill.height);
  require_inside(runtime, fill.to, all, "memset");
  require(runtime.machine.memory().find(fill.to).has_value());
  return fill;
}

double execute(Runtime& runtime, const Work& work, const Stream& stream) {
  if (runtime.sticky != cudaSuccess) return 0;
  if (!std::holds_alternative<HostWork>(work)) runtime.allocator.arena().open();
  struct Visitor {
    Runtime& runtime;
    const Stream& stream;
    double operator()(const KernelWork& kernel) { return run_kernel(runtime, kernel, stream); }
    double operator()(const CopyWork& copy) { return run_copy(runtime, copy); }
    double operator()(const FillWork& fill) { return run_fill(runtime, fill); }
    double operator()(const HostWork& host) {
      host.function(host.data);
      return 0;
    }
    double operator()(const EmptyWork&) { return 0; }
    double operator()(const LibraryWork& library) { return run_library(runtime, library); }
  };
  return std::visit(Visitor{runtime, stream}, work);
}

OperationPtr enqueue(Runtime& runtime, Stream& stream, Work work) {
  if (stream.capture) {
    add_captured(stream, std::move(work));
    return nullptr;
  }
  if (&stream == &runtime.timeline.legacy()) require_no_blocking_capture(runtime);
  return runtime.timeline.submit(
      stream, [&runtime, &stream, work = std::move(work)] { return execute(runtime, work, stream); });
}

}  // namespace vgpu
