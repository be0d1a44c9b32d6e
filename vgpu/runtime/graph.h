#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "vgpu/runtime/work.h"

namespace vgpu {

struct Graph;

/// Its address is the cudaGraphNode_t.
struct Node {
  Graph* graph;
  Work work;
  std::vector<Node*> before;
  std::vector<void*> argument_pointers;  // what cudaGraphKernelNodeGetParams hands out
};

/// Its address is the cudaGraph_t. Nodes are in the order in which they were added.
struct Graph {
  std::vector<std::unique_ptr<Node>> nodes;

  Node& add(Work work, std::vector<Node*> before);
};

/// Its address is the cudaGraphExec_t: a copy of a graph's work in an order that honours its edges.
struct GraphExec {
  struct Step {
    Work work;
    std::vector<size_t> before;  // steps
  };
  std::vector<Step> steps;
  std::map<const Node*, size_t> step_of;  // of the nodes that it was made of
};

/// A stream capture in progress, shared by the streams that have joined it.
struct Capture {
  std::unique_ptr<Graph> graph = std::make_unique<Graph>();
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  Stream* origin = nullptr;
  uint64_t id = 0;
  std::thread::id thread = std::this_thread::get_id();
  bool valid = true;
  std::map<const Stream*, std::vector<Node*>> tails;  // what each stream's next node comes after
};

/// Steps in an order that honours the edges. Throws CudaError on a cycle.
std::unique_ptr<GraphExec> instantiate(const Graph& graph);
/// Runs all steps; returns the seconds along its longest path.
double run_graph(Runtime& runtime, const GraphExec& graph, const Stream& stream);

void add_captured(Stream& stream, Work work);
/// Throws where work on the legacy stream would depend on a stream that is being captured, and spoils that capture.
void require_no_blocking_capture(Runtime& runtime);
/// What cudaThreadExchangeStreamCaptureMode exchanges.
cudaStreamCaptureMode& thread_capture_mode();
/// Throws where a call that cannot be captured is made while a capture forbids it, and spoils that capture.
void require_no_capture(Runtime& runtime);

}  // namespace vgpu
