// Streams, events, host functions, waiting.
#include <cuda_runtime_api.h>

#include <set>

#include "vgpu/runtime/event.h"
#include "vgpu/runtime/runtime.h"
#include "vgpu/runtime/work.h"

using namespace vgpu;

namespace {

constexpr int lowest_priority = 0;
constexpr int highest_priority = -5;

std::set<Event*>& events() {
  static auto* events = new std::set<Event*>;
  return *events;
}

Event& event_of(cudaEvent_t handle) {
  auto* event = reinterpret_cast<Event*>(handle);
  require(events().contains(event), cudaErrorInvalidResourceHandle);
  return *event;
}

void refuse_while_captured(const Stream& stream) {
  if (!stream.capture) return;
  stream.capture->valid = false;
  throw CudaError{cudaErrorStreamCaptureUnsupported};
}

void record(Runtime& runtime, Event& event, Stream& stream) {
  if (stream.capture) {
    require(stream.capture->valid, cudaErrorStreamCaptureInvalidated);
    event.capture = stream.capture;
    event.nodes = stream.capture->tails[&stream];
    return;
  }
  event.capture = nullptr;
  event.recorded = runtime.timeline.submit(stream, {});
}

// A stream that waits for an event of a capture joins that capture.
void wait(Stream& stream, const Event& event) {
  if (event.capture) {
    require(event.capture->valid, cudaErrorStreamCaptureInvalidated);
    require(!stream.capture || stream.capture == event.capture, cudaErrorStreamCaptureMerge);
    stream.capture = event.capture;
    std::vector<Node*>& tail = event.capture->tails[&stream];
    tail.insert(tail.end(), event.nodes.begin(), event.nodes.end());
    return;
  }
  if (stream.capture) {
    stream.capture->valid = false;
    throw CudaError{cudaErrorStreamCaptureIsolation};
  }
  if (event.recorded) stream.waits.push_back(event.recorded);
}

}  // namespace

extern "C" {

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority) {
  return api_call([&](Runtime& runtime) {
    require(stream && (flags == cudaStreamDefault || flags == cudaStreamNonBlocking));
    priority = std::min(lowest_priority, std::max(highest_priority, priority));
    Stream& made = runtime.timeline.create(flags, priority, flags != cudaStreamNonBlocking);
    *stream = reinterpret_cast<cudaStream_t>(&made);
  });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return cudaStreamCreateWithPriority(stream, flags, lowest_priority);
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  return api_call([&](Runtime& runtime) {
    Stream& stream = stream_of(runtime, handle);
    require(&stream != &runtime.timeline.legacy() && &stream != &runtime.timeline.per_thread(),
            cudaErrorInvalidResourceHandle);
    refuse_while_captured(stream);
    runtime.timeline.destroy(stream);
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return api_call([&](Runtime& runtime) {
    Stream& stream = stream_of(runtime, handle);
    refuse_while_captured(stream);
    if (&stream == &runtime.timeline.legacy()) require_no_blocking_capture(runtime);
    runtime.wait_for(stream);
  });
}

// A query lets time pass: what was asked for has run by the next one, so that a program may poll.
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return api_call([&](Runtime& runtime) {
    Stream& stream = stream_of(runtime, handle);
    refuse_while_captured(stream);
    if (runtime.timeline.idle(stream)) return;
    runtime.wait_for(stream);
    throw CudaError{cudaErrorNotReady};
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  return api_call([&](Runtime& runtime) { wait(stream_of(runtime, handle), event_of(event)); });
}

cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned* flags) {
  return api_call([&](Runtime& runtime) { *flags = stream_of(runtime, handle).flags; });
}

cudaError_t cudaStreamGetPriority(cudaStream_t handle, int* priority) {
  return api_call([&](Runtime& runtime) { *priority = stream_of(runtime, handle).priority; });
}

cudaError_t cudaStreamGetId(cudaStream_t handle, unsigned long long* id) {
  return api_call([&](Runtime& runtime) { *id = static_cast<unsigned long long>(stream_of(runtime, handle).number); });
}

cudaError_t cudaStreamGetDevice(cudaStream_t handle, int* device) {
  return api_call([&](Runtime& runtime) {
    stream_of(runtime, handle);
    *device = 0;
  });
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  return api_call([&](Runtime&) {
    if (least) *least = lowest_priority;
    if (greatest) *greatest = highest_priority;
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  return api_call([&](Runtime& runtime) {
    require(function);
    enqueue(runtime, stream_of(runtime, handle), HostWork{function, data});
  });
}

cudaError_t cudaStreamAddCallback(cudaStream_t handle, cudaStreamCallback_t callback, void* data, unsigned) {
  return api_call([&](Runtime& runtime) {
    require(callback);
    Stream& stream = stream_of(runtime, handle);
    refuse_while_captured(stream);
    runtime.timeline.submit(stream, [&runtime, handle, callback, data]() -> double {
      callback(handle, runtime.sticky, data);
      return 0;
    });
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return api_call([&](Runtime& runtime) {
    require(event);
    if (!(flags & cudaEventDisableTiming)) runtime.accounting = true;
    auto* made = new Event;
    made->flags = flags;
    events().insert(made);
    *event = reinterpret_cast<cudaEvent_t>(made);
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  return api_call([&](Runtime&) {
    Event& event = event_of(handle);
    events().erase(&event);
    delete &event;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream) {
  return api_call([&](Runtime& runtime) { record(runtime, event_of(handle), stream_of(runtime, stream)); });
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t handle, cudaStream_t stream, unsigned flags) {
  if (flags != cudaEventRecordDefault) refuse("cudaEventRecordWithFlags with cudaEventRecordExternal is not supported");
  return cudaEventRecord(handle, stream);
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  return api_call([&](Runtime& runtime) {
    Event& event = event_of(handle);
    require(!event.capture, cudaErrorCapturedEvent);
    runtime.wait_for(event.recorded);
  });
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  return api_call([&](Runtime& runtime) {
    Event& event = event_of(handle);
    require(!event.capture, cudaErrorCapturedEvent);
    if (!event.recorded || event.recorded->done) return;
    runtime.wait_for(event.recorded);
    throw CudaError{cudaErrorNotReady};
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return api_call([&](Runtime&) {
    Event &first = event_of(start), &second = event_of(end);
    require(milliseconds);
    require(!first.capture && !second.capture, cudaErrorCapturedEvent);
    require(!((first.flags | second.flags) & cudaEventDisableTiming) && first.recorded && second.recorded,
            cudaErrorInvalidResourceHandle);
    require(first.recorded->done && second.recorded->done, cudaErrorNotReady);
    *milliseconds = static_cast<float>((second.recorded->end - first.recorded->end) * 1e3);
  });
}

cudaError_t cudaDeviceSynchronize(void) {
  return api_call([&](Runtime& runtime) {
    require_no_capture(runtime);
    runtime.wait_for_all();
  });
}

}  // extern "C"
