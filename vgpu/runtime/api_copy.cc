// Copies and memsets. A synchronous call is the asynchronous one and a wait.
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "vgpu/runtime/graph.h"
#include "vgpu/runtime/runtime.h"
#include "vgpu/runtime/work.h"

using namespace vgpu;

namespace {

// A copy from pageable host memory has taken its bytes by the time it returns; one to pageable memory is done by then.
void copy_async(Runtime& runtime, Stream& stream, CopyWork copy) {
  copy = make_copy(runtime, copy);
  Memory& memory = runtime.machine.memory();
  bool from_pageable = copy.kind == cudaMemcpyHostToDevice && copy.height && copy.width && !memory.find(copy.from);
  if (from_pageable && !stream.capture && runtime.settings.machine.schedule) {
    size_t bytes = copy.from_pitch * (copy.height - 1) + copy.width;
    std::shared_ptr<char[]> staged(new char[bytes]);
    std::memcpy(staged.get(), copy.from, bytes);
    copy.from = staged.get();
    runtime.timeline.submit(stream, [&runtime, &stream, copy, staged] { return execute(runtime, copy, stream); });
    return;
  }
  OperationPtr operation = enqueue(runtime, stream, copy);
  bool to_pageable = copy.kind == cudaMemcpyDeviceToHost && !memory.find(copy.to);
  if (operation && to_pageable) runtime.wait_for(operation);
}

void copy_now(Runtime& runtime, CopyWork copy) {
  require_no_capture(runtime);
  runtime.wait_for(enqueue(runtime, runtime.timeline.legacy(), make_copy(runtime, copy)));
}

void fill_now(Runtime& runtime, FillWork fill) {
  require_no_capture(runtime);
  runtime.wait_for(enqueue(runtime, runtime.timeline.legacy(), make_fill(runtime, fill)));
}

CopyWork flat(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return {to, bytes, from, bytes, bytes, 1, kind};
}

FillWork flat_fill(void* to, int value, size_t bytes) {
  return {to, bytes, static_cast<unsigned char>(value), 1, bytes, 1};
}

char* symbol_range(Runtime& runtime, const void* symbol, size_t bytes, size_t offset) {
  Module::Symbol found = runtime.symbol(symbol);
  require(offset <= found.bytes && bytes <= found.bytes - offset);
  return static_cast<char*>(found.address) + offset;
}

CopyWork to_symbol(Runtime& runtime, const void* symbol, const void* from, size_t bytes, size_t offset,
                   cudaMemcpyKind kind) {
  require(kind != cudaMemcpyDeviceToHost && kind != cudaMemcpyHostToHost, cudaErrorInvalidMemcpyDirection);
  return flat(symbol_range(runtime, symbol, bytes, offset), from, bytes, kind);
}

CopyWork from_symbol(Runtime& runtime, void* to, const void* symbol, size_t bytes, size_t offset, cudaMemcpyKind kind) {
  require(kind != cudaMemcpyHostToDevice && kind != cudaMemcpyHostToHost, cudaErrorInvalidMemcpyDirection);
  return flat(to, symbol_range(runtime, symbol, bytes, offset), bytes, kind);
}

}  // namespace

extern "C" {

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return api_call([&](Runtime& runtime) { copy_now(runtime, flat(to, from, bytes, kind)); });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return api_call(
      [&](Runtime& runtime) { copy_async(runtime, stream_of(runtime, stream), flat(to, from, bytes, kind)); });
}

cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                         cudaMemcpyKind kind) {
  return api_call([&](Runtime& runtime) { copy_now(runtime, {to, to_pitch, from, from_pitch, width, height, kind}); });
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  return api_call([&](Runtime& runtime) {
    copy_async(runtime, stream_of(runtime, stream), {to, to_pitch, from, from_pitch, width, height, kind});
  });
}

cudaError_t cudaMemcpyToSymbol(const void* symbol, const void* from, size_t bytes, size_t offset, cudaMemcpyKind kind) {
  return api_call([&](Runtime& runtime) { copy_now(runtime, to_symbol(runtime, symbol, from, bytes, offset, kind)); });
}

cudaError_t cudaMemcpyToSymbolAsync(const void* symbol, const void* from, size_t bytes, size_t offset,
                                    cudaMemcpyKind kind, cudaStream_t stream) {
  return api_call([&](Runtime& runtime) {
    copy_async(runtime, stream_of(runtime, stream), to_symbol(runtime, symbol, from, bytes, offset, kind));
  });
}

cudaError_t cudaMemcpyFromSymbol(void* to, const void* symbol, size_t bytes, size_t offset, cudaMemcpyKind kind) {
  return api_call([&](Runtime& runtime) { copy_now(runtime, from_symbol(runtime, to, symbol, bytes, offset, kind)); });
}

cudaError_t cudaMemcpyFromSymbolAsync(void* to, const void* symbol, size_t bytes, size_t offset, cudaMemcpyKind kind,
                                      cudaStream_t stream) {
  return api_call([&](Runtime& runtime) {
    copy_async(runtime, stream_of(runtime, stream), from_symbol(runtime, to, symbol, bytes, offset, kind));
  });
}

cudaError_t cudaGetSymbolAddress(void** address, const void* symbol) {
  return api_call([&](Runtime& runtime) { *address = runtime.symbol(symbol).address; });
}

cudaError_t cudaGetSymbolSize(size_t* bytes, const void* symbol) {
  return api_call([&](Runtime& runtime) { *bytes = runtime.symbol(symbol).bytes; });
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  return api_call([&](Runtime& runtime) { fill_now(runtime, flat_fill(to, value, bytes)); });
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return api_call([&](Runtime& runtime) {
    enqueue(runtime, stream_of(runtime, stream), make_fill(runtime, flat_fill(to, value, bytes)));
  });
}

cudaError_t cudaMemset2D(void* to, size_t pitch, int value, size_t width, size_t height) {
  return api_call([&](Runtime& runtime) {
    fill_now(runtime, {to, pitch, static_cast<unsigned char>(value), 1, width, height});
  });
}

cudaError_t cudaMemset2DAsync(void* to, size_t pitch, int value, size_t width, size_t height, cudaStream_t stream) {
  return api_call([&](Runtime& runtime) {
    FillWork fill{to, pitch, static_cast<unsigned char>(value), 1, width, height};
    enqueue(runtime, stream_of(runtime, stream), make_fill(runtime, fill));
  });
}

}  // extern "C"
