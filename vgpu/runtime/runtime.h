#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "vgpu/machine.h"
#include "vgpu/runtime/accounts.h"
#include "vgpu/runtime/allocator.h"
#include "vgpu/runtime/cubin.h"
#include "vgpu/runtime/errors.h"
#include "vgpu/runtime/fat_binary.h"
#include "vgpu/runtime/gpu.h"
#include "vgpu/runtime/timeline.h"

namespace vgpu {

/// What scripts/vgpu passes on, one VGPU_* environment variable an option.
struct Settings {
  const Gpu* gpu;
  Options machine;
  bool check_leaks = true;
  std::string counts_file;  ///< VGPU_COUNTS
  std::string report_file;  ///< VGPU_REPORT
};
Settings read_settings();

/// A fat binary of the program: one part, or one a translation unit for -rdc=true.
struct FatBinary {
  std::vector<std::vector<Image>> parts;
  std::vector<Module*> modules;  ///< of the PTX chosen for the GPU; filled at first use
  bool loaded = false;
  std::map<std::string, Resources> resources;  ///< from the SASS that lies beside it
};

/// A __global__ function of the program. Its address is the cudaKernel_t.
struct DeviceFunction {
  FatBinary* binary;
  std::string name;
  const Kernel* kernel = nullptr;  ///< filled at first use
  Resources resources;
  size_t max_dynamic_shared = 0;  ///< cudaFuncAttributeMaxDynamicSharedMemorySize
  int carveout = -1;
};

/// A __device__, __constant__ or __managed__ variable of the program.
struct DeviceVariable {
  FatBinary* binary;
  std::string name;
};

/// The process's one virtual GPU and all that the program registered with it. Everything is guarded by `mutex`.
class Runtime {
 public:
  static Runtime& get();

  Runtime();

  std::recursive_mutex mutex;
  Settings settings;
  const Gpu& gpu;
  Machine machine;
  Timeline timeline;
  Allocator allocator;
  Accounts accounts;
  bool accounting;                   ///< whether anything asks for counts or times: a report, or an event that is timed
  cudaError_t sticky = cudaSuccess;  ///< once set, every call returns it

  /// The host has waited for `operation` (or the stream, or all), and goes on: device memory is closed to it.
  void wait_for(const OperationPtr& operation);
  void wait_for(Stream& stream);
  void wait_for_all();

  FatBinary& add_binary(const void* wrapper);
  void add_function(FatBinary& binary, const void* host, std::string name);
  void add_variable(FatBinary& binary, const void* host, std::string name);

  /// By host address or cudaKernel_t, with its kernel parsed. Throws CudaError.
  DeviceFunction& function(const void* host);
  Module::Symbol symbol(const void* host);
  Module::Symbol symbol(FatBinary& binary, const std::string& name);

 private:
  void load(FatBinary& binary);
  void resolve(DeviceFunction& function);

  std::vector<std::unique_ptr<FatBinary>> binaries_;
  std::unordered_map<const void*, std::unique_ptr<DeviceFunction>> functions_;  // by host address
  std::unordered_map<const void*, DeviceFunction*> handles_;                    // by cudaKernel_t
  std::unordered_map<const void*, DeviceVariable> variables_;
};

/// The calling thread's last error, as cudaGetLastError sees it.
cudaError_t& last_error();

/// The body of an API call: takes the lock, turns CudaError into its code and remembers it.
template <class Body>
cudaError_t api_call(Body&& body) {
  Runtime& runtime = Runtime::get();
  std::lock_guard lock(runtime.mutex);
  cudaError_t error = runtime.sticky;
  if (error == cudaSuccess) {
    try {
      body(runtime);
    } catch (const CudaError& thrown) {
      error = thrown.code;
    }
    if (error == cudaSuccess) error = runtime.sticky;
  }
  if (error != cudaSuccess) last_error() = error;
  return error;
}

/// "0", legacy, per-thread or one of the program's streams. Throws CudaError.
Stream& stream_of(Runtime& runtime, cudaStream_t handle);

/// The name of the program, for messages.
std::string program_name();

}  // namespace vgpu
