// The device, its properties and attributes, errors, versions.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstring>
#include <string_view>

#include "vgpu/runtime/encode_tensor_map.h"
#include "vgpu/runtime/runtime.h"

using namespace vgpu;

namespace {

constexpr int cuda_version = 13000;
constexpr size_t constant_memory = 64 * 1024;

void fill_properties(const Gpu& gpu, cudaDeviceProp& p) {
  p = {};
  std::snprintf(p.name, sizeof p.name, "%s (virtual)", gpu.name);
  std::memcpy(p.uuid.bytes, "weft virtual gpu", sizeof p.uuid.bytes);
  p.totalGlobalMem = gpu.memory_bytes;
  p.sharedMemPerBlock = shared_per_block_default;
  p.regsPerBlock = p.regsPerMultiprocessor = registers_per_sm;
  p.warpSize = 32;
  p.memPitch = 0x7fffffff;
  p.maxThreadsPerBlock = p.maxThreadsDim[0] = p.maxThreadsDim[1] = max_threads_per_block;
  p.maxThreadsDim[2] = 64;
  p.maxGridSize[0] = 0x7fffffff;
  p.maxGridSize[1] = p.maxGridSize[2] = 65535;
  p.totalConstMem = constant_memory;
  p.major = gpu.major;
  p.minor = gpu.minor;
  p.textureAlignment = 512;
  p.texturePitchAlignment = 32;
  p.multiProcessorCount = gpu.sm_count;
  p.canMapHostMemory = p.concurrentKernels = p.unifiedAddressing = 1;
  p.asyncEngineCount = 2;
  p.pciBusID = 1;
  p.memoryBusWidth = gpu.memory_bus_bits;
  p.l2CacheSize = static_cast<int>(gpu.l2_bytes);
  p.maxThreadsPerMultiProcessor = gpu.threads_per_sm;
  p.maxBlocksPerMultiProcessor = gpu.blocks_per_sm;
  p.streamPrioritiesSupported = p.globalL1CacheSupported = p.localL1CacheSupported = 1;
  p.sharedMemPerMultiprocessor = gpu.shared_per_sm;
  p.sharedMemPerBlockOptin = gpu.shared_per_block_optin;
  p.reservedSharedMemPerBlock = reserved_shared_per_block;
  p.managedMemory = p.concurrentManagedAccess = 1;
  p.canUseHostPointerForRegisteredMem = p.hostRegisterSupported = 1;
  p.memoryPoolsSupported = 1;
  p.hostNumaId = -1;
}

int attribute(const Gpu& gpu, cudaDeviceAttr which) {
  cudaDeviceProp p;
  fill_properties(gpu, p);
  switch (which) {
    case cudaDevAttrMaxThreadsPerBlock: return p.maxThreadsPerBlock;
    case cudaDevAttrMaxBlockDimX: return p.maxThreadsDim[0];
    case cudaDevAttrMaxBlockDimY: return p.maxThreadsDim[1];
    case cudaDevAttrMaxBlockDimZ: return p.maxThreadsDim[2];
    case cudaDevAttrMaxGridDimX: return p.maxGridSize[0];
    case cudaDevAttrMaxGridDimY: return p.maxGridSize[1];
    case cudaDevAttrMaxGridDimZ: return p.maxGridSize[2];
    case cudaDevAttrMaxSharedMemoryPerBlock: return static_cast<int>(p.sharedMemPerBlock);
    case cudaDevAttrTotalConstantMemory: return static_cast<int>(p.totalConstMem);
    case cudaDevAttrWarpSize: return p.warpSize;
    case cudaDevAttrMaxPitch: return static_cast<int>(p.memPitch);
    case cudaDevAttrMaxRegistersPerBlock: return p.regsPerBlock;
    case cudaDevAttrClockRate: return static_cast<int>(gpu.sm_clock / 1e3);
    case cudaDevAttrTextureAlignment: return static_cast<int>(p.textureAlignment);
    case cudaDevAttrTexturePitchAlignment: return static_cast<int>(p.texturePitchAlignment);
    case cudaDevAttrGpuOverlap: return 1;
    case cudaDevAttrMultiProcessorCount: return p.multiProcessorCount;
    case cudaDevAttrKernelExecTimeout: return 0;
    case cudaDevAttrIntegrated: return 0;
    case cudaDevAttrCanMapHostMemory: return p.canMapHostMemory;
    case cudaDevAttrComputeMode: return cudaComputeModeDefault;
    case cudaDevAttrConcurrentKernels: return p.concurrentKernels;
    case cudaDevAttrEccEnabled: return p.ECCEnabled;
    case cudaDevAttrPciBusId: return p.pciBusID;
    case cudaDevAttrPciDeviceId: return p.pciDeviceID;
    case cudaDevAttrPciDomainId: return p.pciDomainID;
    case cudaDevAttrTccDriver: return 0;
    case cudaDevAttrMemoryClockRate: return static_cast<int>(gpu.memory_clock / 1e3);
    case cudaDevAttrGlobalMemoryBusWidth: return p.memoryBusWidth;
    case cudaDevAttrL2CacheSize: return p.l2CacheSize;
    case cudaDevAttrMaxThreadsPerMultiProcessor: return p.maxThreadsPerMultiProcessor;
    case cudaDevAttrAsyncEngineCount: return p.asyncEngineCount;
    case cudaDevAttrUnifiedAddressing: return p.unifiedAddressing;
    case cudaDevAttrComputeCapabilityMajor: return p.major;
    case cudaDevAttrComputeCapabilityMinor: return p.minor;
    case cudaDevAttrStreamPrioritiesSupported: return p.streamPrioritiesSupported;
    case cudaDevAttrGlobalL1CacheSupported: return p.globalL1CacheSupported;
    case cudaDevAttrLocalL1CacheSupported: return p.localL1CacheSupported;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: return static_cast<int>(p.sharedMemPerMultiprocessor);
    case cudaDevAttrMaxRegistersPerMultiprocessor: return p.regsPerMultiprocessor;
    case cudaDevAttrManagedMemory: return p.managedMemory;
    case cudaDevAttrIsMultiGpuBoard: return 0;
    case cudaDevAttrMultiGpuBoardGroupID: return 0;
    case cudaDevAttrHostNativeAtomicSupported: return 0;
    case cudaDevAttrSingleToDoublePrecisionPerfRatio: return gpu.f32_lanes / gpu.f64_lanes;
    case cudaDevAttrPageableMemoryAccess: return 0;
    case cudaDevAttrConcurrentManagedAccess: return p.concurrentManagedAccess;
    case cudaDevAttrComputePreemptionSupported: return 0;
    case cudaDevAttrCanUseHostPointerForRegisteredMem: return p.canUseHostPointerForRegisteredMem;
    case cudaDevAttrCooperativeLaunch: return p.cooperativeLaunch;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: return static_cast<int>(p.sharedMemPerBlockOptin);
    case cudaDevAttrHostRegisterSupported: return p.hostRegisterSupported;
    case cudaDevAttrPageableMemoryAccessUsesHostPageTables: return 0;
    case cudaDevAttrDirectManagedMemAccessFromHost: return 0;
    case cudaDevAttrMaxBlocksPerMultiprocessor: return p.maxBlocksPerMultiProcessor;
    case cudaDevAttrMaxPersistingL2CacheSize: return 0;
    case cudaDevAttrMaxAccessPolicyWindowSize: return 0;
    case cudaDevAttrReservedSharedMemoryPerBlock: return static_cast<int>(p.reservedSharedMemPerBlock);
    case cudaDevAttrMemoryPoolsSupported: return p.memoryPoolsSupported;
    case cudaDevAttrMemoryPoolSupportedHandleTypes: return 0;
    case cudaDevAttrClusterLaunch: return p.clusterLaunch;
    case cudaDevAttrGPUDirectRDMASupported: return 0;
    case cudaDevAttrIpcEventSupport: return 0;
    default: refuse("cudaDeviceGetAttribute: attribute " + std::to_string(which) + " is not modelled");
  }
}

}  // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  return api_call([&](Runtime&) {
    require(count);
    *count = 1;
  });
}

cudaError_t cudaGetDevice(int* device) {
  return api_call([&](Runtime&) {
    require(device);
    *device = 0;
  });
}

cudaError_t cudaSetDevice(int device) {
  return api_call([&](Runtime&) { require(device == 0, cudaErrorInvalidDevice); });
}

cudaError_t cudaInitDevice(int device, unsigned, unsigned) { return cudaSetDevice(device); }

cudaError_t cudaSetDeviceFlags(unsigned) {
  return api_call([](Runtime&) {});
}

cudaError_t cudaGetDeviceFlags(unsigned* flags) {
  return api_call([&](Runtime&) {
    require(flags);
    *flags = cudaDeviceScheduleAuto | cudaDeviceMapHost;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return api_call([&](Runtime& runtime) {
    require(properties);
    require(device == 0, cudaErrorInvalidDevice);
    fill_properties(runtime.gpu, *properties);
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int device) {
  return api_call([&](Runtime& runtime) {
    require(value);
    require(device == 0, cudaErrorInvalidDevice);
    *value = attribute(runtime.gpu, which);
  });
}

cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
  return api_call([&](Runtime&) {
    require(text && length > 0 && device == 0);
    std::snprintf(text, static_cast<size_t>(length), "0000:01:00.0");
  });
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  return api_call([&](Runtime&) {
    require(device == 0 && peer == 0, cudaErrorInvalidDevice);
    *can = 0;
  });
}

cudaError_t cudaDeviceReset(void) {
  return api_call([](Runtime& runtime) {
    runtime.wait_for_all();
    runtime.allocator.reset();
  });
}

cudaError_t cudaDeviceSetCacheConfig(cudaFuncCache) {
  return api_call([](Runtime&) {});
}

cudaError_t cudaDeviceSetLimit(cudaLimit limit, size_t) {
  return api_call([&](Runtime&) {
    require(limit == cudaLimitStackSize || limit == cudaLimitPrintfFifoSize || limit == cudaLimitMallocHeapSize,
            cudaErrorUnsupportedLimit);
  });
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  if (!version) return last_error() = cudaErrorInvalidValue;
  *version = cuda_version;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) { return cudaRuntimeGetVersion(version); }

// A sticky error stays for good: only a new process is rid of it.
cudaError_t cudaGetLastError(void) {
  cudaError_t error = cudaPeekAtLastError();
  last_error() = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError(void) {
  Runtime& runtime = Runtime::get();
  std::lock_guard lock(runtime.mutex);
  return runtime.sticky != cudaSuccess ? runtime.sticky : last_error();
}

const char* cudaGetErrorName(cudaError_t error) { return error_name(error); }
const char* cudaGetErrorString(cudaError_t error) { return error_text(error); }

cudaError_t cudaProfilerStart(void) { return cudaSuccess; }
cudaError_t cudaProfilerStop(void) { return cudaSuccess; }

// Of the driver API only tensor maps are made here.
static void driver_entry_point(const char* call, const char* symbol, void** function,
                               cudaDriverEntryPointQueryResult* result) {
  if (std::string_view(symbol) != "cuTensorMapEncodeTiled")
    refuse(std::string(call) + "(\"" + symbol + "\"): the driver API is not supported");
  *function = reinterpret_cast<void*>(&encode_tensor_map);
  if (result) *result = cudaDriverEntryPointSuccess;
}

cudaError_t cudaGetDriverEntryPoint(const char* symbol, void** function, unsigned long long,
                                    cudaDriverEntryPointQueryResult* result) {
  driver_entry_point("cudaGetDriverEntryPoint", symbol, function, result);
  return cudaSuccess;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  driver_entry_point("cudaGetDriverEntryPointByVersion", symbol, function, result);
  return cudaSuccess;
}

}  // extern "C"
