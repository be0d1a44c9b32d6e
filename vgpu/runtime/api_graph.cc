// Stream capture and graphs.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <functional>
#include <set>

#include "vgpu/runtime/graph.h"
#include "vgpu/runtime/runtime.h"

using namespace vgpu;

namespace {

// Live graphs and executable graphs, so that a dead handle is told apart.
template <class T>
std::map<T*, std::unique_ptr<T>>& live() {
  static auto* objects = new std::map<T*, std::unique_ptr<T>>;
  return *objects;
}

template <class T, class Handle>
Handle add_live(std::unique_ptr<T> object) {
  T* address = object.get();
  live<T>()[address] = std::move(object);
  return reinterpret_cast<Handle>(address);
}

Graph& graph_of(cudaGraph_t handle) {
  auto* graph = reinterpret_cast<Graph*>(handle);
  require(live<Graph>().contains(graph));
  return *graph;
}

GraphExec& exec_of(cudaGraphExec_t handle) {
  auto* exec = reinterpret_cast<GraphExec*>(handle);
  require(live<GraphExec>().contains(exec));
  return *exec;
}

Node& node_of(cudaGraphNode_t handle) {
  require(handle);
  return *reinterpret_cast<Node*>(handle);
}

cudaGraphNodeType type_of(const Work& work) {
  constexpr cudaGraphNodeType types[] = {cudaGraphNodeTypeKernel, cudaGraphNodeTypeMemcpy, cudaGraphNodeTypeMemset,
                                         cudaGraphNodeTypeHost,   cudaGraphNodeTypeEmpty,  cudaGraphNodeTypeKernel};
  return types[work.index()];
}

std::vector<Node*> dependencies(Graph& graph, const cudaGraphNode_t* nodes, size_t count) {
  std::vector<Node*> before;
  for (size_t i = 0; i < count; ++i) {
    require(nodes && node_of(nodes[i]).graph == &graph);
    before.push_back(&node_of(nodes[i]));
  }
  return before;
}

cudaError_t add_node(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t* before, size_t count,
                     const std::function<Work(Runtime&)>& work) {
  return api_call([&](Runtime& runtime) {
    require(node);
    Graph& target = graph_of(graph);
    *node = reinterpret_cast<cudaGraphNode_t>(&target.add(work(runtime), dependencies(target, before, count)));
  });
}

KernelWork kernel_work(Runtime& runtime, const cudaKernelNodeParams& parameters) {
  if (parameters.extra) refuse("a graph kernel node with the \"extra\" argument format is not supported");
  return make_kernel_work(runtime, runtime.function(parameters.func), parameters.gridDim, parameters.blockDim,
                          parameters.kernelParams, parameters.sharedMemBytes);
}

FillWork fill_work(Runtime& runtime, const cudaMemsetParams& p) {
  require(p.elementSize == 1 || p.elementSize == 2 || p.elementSize == 4);
  return make_fill(runtime, {p.dst, p.pitch, p.value, p.elementSize, p.width, p.height});
}

GraphExec::Step& step_of(cudaGraphExec_t exec, cudaGraphNode_t node) {
  GraphExec& target = exec_of(exec);
  auto found = target.step_of.find(&node_of(node));
  require(found != target.step_of.end());
  return target.steps[found->second];
}

// Every stream that joined must have led back to the one where the capture began.
bool unjoined(const Capture& capture) {
  std::set<const Node*> reached;
  std::vector<const Node*> open;
  auto origin = capture.tails.find(capture.origin);
  if (origin != capture.tails.end()) open.assign(origin->second.begin(), origin->second.end());
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (reached.insert(node).second) open.insert(open.end(), node->before.begin(), node->before.end());
  }
  return reached.size() != capture.graph->nodes.size();
}

std::shared_ptr<Capture> leave_capture(Runtime& runtime, Stream& stream) {
  std::shared_ptr<Capture> capture = stream.capture;
  for (Stream* other : runtime.timeline.streams()) {
    if (other->capture == capture) other->capture = nullptr;
  }
  return capture;
}

cudaStreamCaptureStatus status_of(const Stream& stream) {
  if (!stream.capture) return cudaStreamCaptureStatusNone;
  return stream.capture->valid ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusInvalidated;
}

uint64_t next_capture_id() {
  static uint64_t id = 0;
  return ++id;
}

}  // namespace

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  return api_call([&](Runtime& runtime) {
    Stream& stream = stream_of(runtime, handle);
    require(&stream != &runtime.timeline.legacy(), cudaErrorStreamCaptureUnsupported);
    require(!stream.capture, cudaErrorIllegalState);
    stream.capture = std::make_shared<Capture>();
    stream.capture->mode = mode;
    stream.capture->origin = &stream;
    stream.capture->id = next_capture_id();
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  return api_call([&](Runtime& runtime) {
    Stream& stream = stream_of(runtime, handle);
    require(graph && stream.capture, cudaErrorIllegalState);
    *graph = nullptr;
    require(stream.capture->origin == &stream, cudaErrorStreamCaptureUnmatched);
    std::shared_ptr<Capture> capture = leave_capture(runtime, stream);
    require(capture->valid, cudaErrorStreamCaptureInvalidated);
    require(!unjoined(*capture), cudaErrorStreamCaptureUnjoined);
    *graph = add_live<Graph, cudaGraph_t>(std::move(capture->graph));
  });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  return api_call([&](Runtime& runtime) {
    require(status);
    *status = status_of(stream_of(runtime, handle));
  });
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t handle, cudaStreamCaptureStatus* status, unsigned long long* id,
                                     cudaGraph_t* graph, const cudaGraphNode_t** nodes, const cudaGraphEdgeData** edges,
                                     size_t* count) {
  if (graph || nodes || edges || count) refuse("cudaStreamGetCaptureInfo is supported for status and id only");
  return api_call([&](Runtime& runtime) {
    Stream& stream = stream_of(runtime, handle);
    require(status);
    *status = status_of(stream);
    if (id && stream.capture) *id = stream.capture->id;
  });
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  return api_call([&](Runtime&) {
    require(mode);
    std::swap(*mode, thread_capture_mode());
  });
}

cudaError_t cudaGraphCreate(cudaGraph_t* graph, unsigned) {
  return api_call([&](Runtime&) {
    require(graph);
    *graph = add_live<Graph, cudaGraph_t>(std::make_unique<Graph>());
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return api_call([&](Runtime&) { live<Graph>().erase(&graph_of(graph)); });
}

cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t* before,
                                   size_t count, const cudaKernelNodeParams* parameters) {
  return add_node(node, graph, before, count,
                  [&](Runtime& runtime) -> Work { return kernel_work(runtime, *parameters); });
}

cudaError_t cudaGraphAddMemcpyNode1D(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t* before,
                                     size_t count, void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return add_node(node, graph, before, count, [&](Runtime& runtime) -> Work {
    return make_copy(runtime, {to, bytes, from, bytes, bytes, 1, kind});
  });
}

cudaError_t cudaGraphAddMemsetNode(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t* before,
                                   size_t count, const cudaMemsetParams* parameters) {
  return add_node(node, graph, before, count,
                  [&](Runtime& runtime) -> Work { return fill_work(runtime, *parameters); });
}

cudaError_t cudaGraphAddHostNode(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t* before, size_t count,
                                 const cudaHostNodeParams* parameters) {
  return add_node(node, graph, before, count, [&](Runtime&) -> Work {
    return HostWork{parameters->fn, parameters->userData};
  });
}

cudaError_t cudaGraphAddEmptyNode(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t* before,
                                  size_t count) {
  return add_node(node, graph, before, count, [](Runtime&) -> Work { return EmptyWork{}; });
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  return api_call([&](Runtime&) {
    Graph& target = graph_of(graph);
    require(count);
    if (!nodes) {
      *count = target.nodes.size();
      return;
    }
    size_t room = *count;
    *count = std::min(room, target.nodes.size());
    for (size_t i = 0; i < room; ++i) {
      nodes[i] = i < *count ? reinterpret_cast<cudaGraphNode_t>(target.nodes[i].get()) : nullptr;
    }
  });
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
  return api_call([&](Runtime&) {
    require(type);
    *type = type_of(node_of(node).work);
  });
}

cudaError_t cudaGraphKernelNodeGetParams(cudaGraphNode_t handle, cudaKernelNodeParams* parameters) {
  return api_call([&](Runtime&) {
    Node& node = node_of(handle);
    auto* work = std::get_if<KernelWork>(&node.work);
    require(work && parameters);
    node.argument_pointers.clear();
    for (const Parameter& parameter : work->function->kernel->parameters) {
      node.argument_pointers.push_back(work->parameters.data() + parameter.offset);
    }
    *parameters = {work->function,
                   dim3(work->grid.x, work->grid.y, work->grid.z),
                   dim3(work->block.x, work->block.y, work->block.z),
                   static_cast<unsigned>(work->dynamic_shared),
                   node.argument_pointers.data(),
                   nullptr};
  });
}

cudaError_t cudaGraphKernelNodeSetParams(cudaGraphNode_t node, const cudaKernelNodeParams* parameters) {
  return api_call([&](Runtime& runtime) {
    require(parameters && std::holds_alternative<KernelWork>(node_of(node).work));
    node_of(node).work = kernel_work(runtime, *parameters);
  });
}

cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node,
                                             const cudaKernelNodeParams* parameters) {
  return api_call([&](Runtime& runtime) {
    GraphExec::Step& step = step_of(exec, node);
    require(parameters && std::holds_alternative<KernelWork>(step.work));
    step.work = kernel_work(runtime, *parameters);
  });
}

cudaError_t cudaGraphExecMemcpyNodeSetParams1D(cudaGraphExec_t exec, cudaGraphNode_t node, void* to, const void* from,
                                               size_t bytes, cudaMemcpyKind kind) {
  return api_call([&](Runtime& runtime) {
    GraphExec::Step& step = step_of(exec, node);
    require(std::holds_alternative<CopyWork>(step.work));
    step.work = make_copy(runtime, {to, bytes, from, bytes, bytes, 1, kind});
  });
}

cudaError_t cudaGraphExecMemsetNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node,
                                             const cudaMemsetParams* parameters) {
  return api_call([&](Runtime& runtime) {
    GraphExec::Step& step = step_of(exec, node);
    require(parameters && std::holds_alternative<FillWork>(step.work));
    step.work = fill_work(runtime, *parameters);
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  return api_call([&](Runtime&) {
    require(exec);
    *exec = add_live<GraphExec, cudaGraphExec_t>(instantiate(graph_of(graph)));
  });
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags) {
  return cudaGraphInstantiate(exec, graph, flags);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream) {
  return api_call([&](Runtime& runtime) {
    exec_of(exec);
    stream_of(runtime, stream);
  });
}

// The steps are copied: the graph may be updated or destroyed while this launch is still queued.
cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t stream_handle) {
  return api_call([&](Runtime& runtime) {
    GraphExec& exec = exec_of(handle);
    Stream& stream = stream_of(runtime, stream_handle);
    if (stream.capture) refuse("cudaGraphLaunch into a stream that is being captured is not supported");
    if (&stream == &runtime.timeline.legacy()) require_no_blocking_capture(runtime);
    auto steps = std::make_shared<GraphExec>(exec);
    runtime.timeline.submit(stream, [&runtime, &stream, steps] { return run_graph(runtime, *steps, stream); });
  });
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t handle, cudaGraph_t graph, cudaGraphExecUpdateResultInfo* result) {
  return api_call([&](Runtime&) {
    GraphExec& exec = exec_of(handle);
    std::unique_ptr<GraphExec> fresh = instantiate(graph_of(graph));
    require(result);
    *result = {};
    auto fail = [&](cudaGraphExecUpdateResult why) {
      result->result = why;
      throw CudaError{cudaErrorGraphExecUpdateFailure};
    };
    if (fresh->steps.size() != exec.steps.size()) fail(cudaGraphExecUpdateErrorTopologyChanged);
    for (size_t i = 0; i < fresh->steps.size(); ++i) {
      const GraphExec::Step &now = fresh->steps[i], &then = exec.steps[i];
      if (now.work.index() != then.work.index()) fail(cudaGraphExecUpdateErrorNodeTypeChanged);
      if (now.before != then.before) fail(cudaGraphExecUpdateErrorTopologyChanged);
    }
    exec.steps = std::move(fresh->steps);
    result->result = cudaGraphExecUpdateSuccess;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  return api_call([&](Runtime&) { live<GraphExec>().erase(&exec_of(exec)); });
}

}  // extern "C"
