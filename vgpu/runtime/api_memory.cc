// Allocation: device, managed and pinned memory, pools, pointer attributes.
#include <cuda_runtime_api.h>

#include "vgpu/runtime/graph.h"
#include "vgpu/runtime/runtime.h"

using namespace vgpu;

namespace {

constexpr size_t pitch_alignment = 512;

void* allocate(Runtime& runtime, size_t bytes, MemoryKind kind, const char* call) {
  void* address = runtime.allocator.allocate(bytes, kind, call);
  require(address || bytes == 0, cudaErrorMemoryAllocation);
  return address;
}

// The pools are all one: they hold nothing back, so that what is freed is known to be free.
struct Pool {
  uint64_t release_threshold = 0;
};

Pool& default_pool() {
  static Pool pool;
  return pool;
}

cudaMemPool_t pool_handle() { return reinterpret_cast<cudaMemPool_t>(&default_pool()); }

void free_async(Runtime& runtime, void* address, Stream& stream) {
  require(address == nullptr || runtime.allocator.owns(address));
  if (stream.capture) refuse("cudaFreeAsync while a stream is captured is not supported");
  runtime.timeline.submit(stream, [&runtime, address]() -> double {
    if (address && !runtime.allocator.free(address, MemoryKind::device, "cudaFreeAsync")) {
      runtime.sticky = cudaErrorInvalidValue;
    }
    return 0;
  });
}

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** address, size_t bytes) {
  return api_call([&](Runtime& runtime) {
    require(address);
    require_no_capture(runtime);
    *address = allocate(runtime, bytes, MemoryKind::device, "cudaMalloc");
  });
}

cudaError_t cudaMallocPitch(void** address, size_t* pitch, size_t width, size_t height) {
  return api_call([&](Runtime& runtime) {
    require(address && pitch);
    require_no_capture(runtime);
    *pitch = (width + pitch_alignment - 1) / pitch_alignment * pitch_alignment;
    *address = allocate(runtime, *pitch * height, MemoryKind::device, "cudaMallocPitch");
  });
}

cudaError_t cudaMallocManaged(void** address, size_t bytes, unsigned flags) {
  return api_call([&](Runtime& runtime) {
    require(address && bytes && (flags == cudaMemAttachGlobal || flags == cudaMemAttachHost));
    require_no_capture(runtime);
    *address = allocate(runtime, bytes, MemoryKind::managed, "cudaMallocManaged");
  });
}

cudaError_t cudaMallocAsync(void** address, size_t bytes, cudaStream_t stream) {
  return api_call([&](Runtime& runtime) {
    require(address);
    if (stream_of(runtime, stream).capture) refuse("cudaMallocAsync while a stream is captured is not supported");
    *address = allocate(runtime, bytes, MemoryKind::device, "cudaMallocAsync");
  });
}

cudaError_t cudaMallocFromPoolAsync(void** address, size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
  if (pool != pool_handle()) return last_error() = cudaErrorInvalidValue;
  return cudaMallocAsync(address, bytes, stream);
}

// Waits for the device, as the real one does, so that what still runs does not lose its memory.
cudaError_t cudaFree(void* address) {
  return api_call([&](Runtime& runtime) {
    if (!address) return;
    require_no_capture(runtime);
    runtime.timeline.complete_all();
    require(runtime.allocator.free(address, MemoryKind::device, "cudaFree"));
  });
}

cudaError_t cudaFreeAsync(void* address, cudaStream_t stream) {
  return api_call([&](Runtime& runtime) { free_async(runtime, address, stream_of(runtime, stream)); });
}

cudaError_t cudaHostAlloc(void** address, size_t bytes, unsigned) {
  return api_call([&](Runtime& runtime) {
    require(address);
    require_no_capture(runtime);
    *address = allocate(runtime, bytes, MemoryKind::host, "cudaHostAlloc");
  });
}

cudaError_t cudaMallocHost(void** address, size_t bytes) { return cudaHostAlloc(address, bytes, cudaHostAllocDefault); }

cudaError_t cudaFreeHost(void* address) {
  return api_call([&](Runtime& runtime) {
    if (!address) return;
    require_no_capture(runtime);
    runtime.timeline.complete_all();
    require(runtime.allocator.free(address, MemoryKind::host, "cudaFreeHost"));
  });
}

cudaError_t cudaHostRegister(void* address, size_t bytes, unsigned) {
  return api_call([&](Runtime& runtime) {
    require(address && bytes);
    require(!runtime.machine.memory().find(address), cudaErrorHostMemoryAlreadyRegistered);
    runtime.machine.memory().add(address, bytes, MemoryKind::host, "registered host memory", true);
  });
}

cudaError_t cudaHostUnregister(void* address) {
  return api_call([&](Runtime& runtime) {
    runtime.timeline.complete_all();
    require(!runtime.allocator.owns(address) && runtime.machine.memory().remove(address, "cudaHostUnregister"),
            cudaErrorHostMemoryNotRegistered);
  });
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  return api_call([&](Runtime& runtime) {
    require(device && runtime.machine.memory().find(host));
    *device = host;
  });
}

cudaError_t cudaHostGetFlags(unsigned* flags, void* host) {
  return api_call([&](Runtime& runtime) {
    require(flags && runtime.machine.memory().find(host));
    *flags = cudaHostAllocMapped;
  });
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
  return api_call([&](Runtime& runtime) {
    if (total) *total = runtime.allocator.device_total();
    if (free_bytes) *free_bytes = runtime.allocator.device_total() - runtime.allocator.device_used();
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  return api_call([&](Runtime& runtime) {
    require(attributes);
    *attributes = {};
    auto allocation = runtime.machine.memory().find(address);
    attributes->type = cudaMemoryTypeUnregistered;
    attributes->device = -2;  // cudaInvalidDeviceId
    if (!allocation) return;
    auto* pointer = const_cast<void*>(address);
    attributes->device = 0;
    attributes->devicePointer = pointer;
    switch (allocation->kind) {
      case MemoryKind::host: attributes->type = cudaMemoryTypeHost; break;
      case MemoryKind::managed: attributes->type = cudaMemoryTypeManaged; break;
      default: attributes->type = cudaMemoryTypeDevice;
    }
    if (attributes->type != cudaMemoryTypeDevice) attributes->hostPointer = pointer;
  });
}

cudaError_t cudaMemPrefetchAsync(const void* address, size_t bytes, cudaMemLocation, unsigned, cudaStream_t stream) {
  return api_call([&](Runtime& runtime) {
    stream_of(runtime, stream);
    auto allocation = runtime.machine.memory().find(address, bytes);
    require(allocation && allocation->kind != MemoryKind::device);
  });
}

cudaError_t cudaMemAdvise(const void* address, size_t bytes, cudaMemoryAdvise, cudaMemLocation) {
  return api_call([&](Runtime& runtime) {
    auto allocation = runtime.machine.memory().find(address, bytes);
    require(allocation && allocation->kind != MemoryKind::device);
  });
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  return api_call([&](Runtime&) {
    require(pool && device == 0);
    *pool = pool_handle();
  });
}

cudaError_t cudaDeviceGetMemPool(cudaMemPool_t* pool, int device) { return cudaDeviceGetDefaultMemPool(pool, device); }

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  return api_call([&](Runtime&) {
    require(pool == pool_handle() && value);
    if (attribute == cudaMemPoolAttrReleaseThreshold) default_pool().release_threshold = *static_cast<uint64_t*>(value);
  });
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  return api_call([&](Runtime& runtime) {
    require(pool == pool_handle() && value);
    auto& number = *static_cast<uint64_t*>(value);
    switch (attribute) {
      case cudaMemPoolAttrReleaseThreshold: number = default_pool().release_threshold; break;
      case cudaMemPoolAttrReservedMemCurrent:
      case cudaMemPoolAttrUsedMemCurrent: number = runtime.allocator.device_used(); break;
      case cudaMemPoolAttrReservedMemHigh:
      case cudaMemPoolAttrUsedMemHigh: number = runtime.allocator.device_peak(); break;
      default: *static_cast<int*>(value) = 1;
    }
  });
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t) {
  return api_call([&](Runtime&) { require(pool == pool_handle()); });
}

}  // extern "C"
