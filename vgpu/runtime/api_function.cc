// Attributes of kernels and occupancy.
#include <cuda_runtime_api.h>

#include "vgpu/runtime/bound.h"
#include "vgpu/runtime/runtime.h"

using namespace vgpu;

namespace {

int blocks_per_sm(Runtime& runtime, const void* host, int threads, size_t dynamic_shared) {
  require(threads > 0);
  DeviceFunction& function = runtime.function(host);
  return occupancy(runtime.gpu, function.resources, function.kernel->static_shared, dynamic_shared, threads,
                   function.max_dynamic_shared)
      .blocks_per_sm;
}

}  // namespace

extern "C" {

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* host) {
  return api_call([&](Runtime& runtime) {
    require(attributes);
    DeviceFunction& function = runtime.function(host);
    *attributes = {};
    attributes->sharedSizeBytes = function.kernel->static_shared;
    attributes->localSizeBytes = static_cast<size_t>(function.resources.stack_bytes);
    attributes->maxThreadsPerBlock = static_cast<int>(function.kernel->max_threads);
    attributes->numRegs = function.resources.registers;
    attributes->ptxVersion = attributes->binaryVersion =
        function.resources.sm ? function.resources.sm : runtime.gpu.sm();
    attributes->maxDynamicSharedSizeBytes = static_cast<int>(function.max_dynamic_shared);
    attributes->preferredShmemCarveout = function.carveout;
  });
}

cudaError_t cudaFuncSetAttribute(const void* host, cudaFuncAttribute attribute, int value) {
  return api_call([&](Runtime& runtime) {
    DeviceFunction& function = runtime.function(host);
    switch (attribute) {
      case cudaFuncAttributeMaxDynamicSharedMemorySize:
        require(value >= 0 &&
                function.kernel->static_shared + static_cast<size_t>(value) <= runtime.gpu.shared_per_block_optin);
        function.max_dynamic_shared = static_cast<size_t>(value);
        break;
      case cudaFuncAttributePreferredSharedMemoryCarveout:
        require(value >= -1 && value <= 100);
        function.carveout = value;
        break;
      default: refuse("cudaFuncSetAttribute: attribute " + std::to_string(attribute) + " is not modelled");
    }
  });
}

cudaError_t cudaFuncSetCacheConfig(const void* host, cudaFuncCache) {
  return api_call([&](Runtime& runtime) { runtime.function(host); });
}

cudaError_t cudaFuncGetName(const char** name, const void* host) {
  return api_call([&](Runtime& runtime) {
    require(name);
    *name = runtime.function(host).name.c_str();
  });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* host, int threads,
                                                          size_t dynamic_shared) {
  return api_call([&](Runtime& runtime) {
    require(blocks);
    *blocks = blocks_per_sm(runtime, host, threads, dynamic_shared);
  });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* host, int threads,
                                                                   size_t dynamic_shared, unsigned) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, host, threads, dynamic_shared);
}

}  // extern "C"
