// What nvcc's host code calls before main and around every <<<>>>: registration of kernels and variables, launches.
#include <cuda_runtime_api.h>

#include <vector>

#include "vgpu/runtime/graph.h"
#include "vgpu/runtime/runtime.h"
#include "vgpu/runtime/work.h"

using namespace vgpu;

namespace {

struct CallConfiguration {
  dim3 grid, block;
  size_t dynamic_shared;
  void* stream;
};

std::vector<CallConfiguration>& call_configurations() {
  thread_local std::vector<CallConfiguration> configurations;
  return configurations;
}

FatBinary& binary_of(void** handle) { return *reinterpret_cast<FatBinary*>(handle); }

}  // namespace

extern "C" {

void** __cudaRegisterFatBinary(void* wrapper) {
  Runtime& runtime = Runtime::get();
  std::lock_guard lock(runtime.mutex);
  return reinterpret_cast<void**>(&runtime.add_binary(wrapper));
}

void __cudaRegisterFatBinaryEnd(void**) {}

// Modules stay loaded: static objects of the program may still launch and free.
void __cudaUnregisterFatBinary(void**) {}

char __cudaInitModule(void**) { return 1; }

void __cudaRegisterFunction(void** handle, const char* host, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*,
                            int*) {
  Runtime& runtime = Runtime::get();
  std::lock_guard lock(runtime.mutex);
  runtime.add_function(binary_of(handle), host, name);
}

void __cudaRegisterVar(void** handle, char* host, char*, const char* name, int, size_t, int, int) {
  Runtime& runtime = Runtime::get();
  std::lock_guard lock(runtime.mutex);
  runtime.add_variable(binary_of(handle), host, name);
}

void __cudaRegisterManagedVar(void** handle, void** host_pointer, char*, const char* name, int, size_t, int, int) {
  Runtime& runtime = Runtime::get();
  std::lock_guard lock(runtime.mutex);
  runtime.add_variable(binary_of(handle), host_pointer, name);
  try {
    Module::Symbol symbol = runtime.symbol(binary_of(handle), name);
    runtime.machine.memory().written(symbol.address, symbol.bytes);
    *host_pointer = symbol.address;
  } catch (const CudaError&) {
    refuse(program_name() + ": no PTX holds the managed variable " + name);
  }
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t dynamic_shared, void* stream) {
  call_configurations().push_back({grid, block, dynamic_shared, stream});
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* dynamic_shared, void* stream) {
  auto& configurations = call_configurations();
  if (configurations.empty()) return last_error() = cudaErrorMissingConfiguration;
  CallConfiguration configuration = configurations.back();
  configurations.pop_back();
  *grid = configuration.grid;
  *block = configuration.block;
  *dynamic_shared = configuration.dynamic_shared;
  *static_cast<void**>(stream) = configuration.stream;
  return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  return api_call([&](Runtime& runtime) { *kernel = reinterpret_cast<cudaKernel_t>(&runtime.function(function)); });
}

cudaError_t cudaGetKernel(cudaKernel_t* kernel, const void* function) { return __cudaGetKernel(kernel, function); }

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, size_t dynamic_shared,
                             cudaStream_t stream) {
  return api_call([&](Runtime& runtime) {
    DeviceFunction& device_function = runtime.function(function);
    Stream& target = stream_of(runtime, stream);
    enqueue(runtime, target, make_kernel_work(runtime, device_function, grid, block, arguments, dynamic_shared));
  });
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t dynamic_shared,
                               cudaStream_t stream) {
  return cudaLaunchKernel(kernel, grid, block, arguments, dynamic_shared, stream);
}

// Attributes that change no result are ignored: the work runs in the stream's order anyway.
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const cudaLaunchAttribute& attribute = config->attrs[i];
    bool cluster = attribute.id == cudaLaunchAttributeClusterDimension &&
                   attribute.val.clusterDim.x * attribute.val.clusterDim.y * attribute.val.clusterDim.z != 1;
    if (cluster) refuse("cudaLaunchKernelExC with a cluster dimension is not supported");
    if (attribute.id == cudaLaunchAttributeCooperative && attribute.val.cooperative) {
      refuse("cudaLaunchKernelExC with the cooperative attribute is not supported");
    }
    if (attribute.id == cudaLaunchAttributeProgrammaticEvent ||
        attribute.id == cudaLaunchAttributeLaunchCompletionEvent) {
      refuse("cudaLaunchKernelExC with an event attribute is not supported");
    }
  }
  return cudaLaunchKernel(function, config->gridDim, config->blockDim, arguments, config->dynamicSmemBytes,
                          config->stream);
}

}  // extern "C"
