#include "vgpu/runtime/graph.h"

#include <algorithm>

namespace vgpu {

Node& Graph::add(Work work, std::vector<Node*> before) {
  nodes.push_back(std::make_unique<Node>(Node{this, std::move(work), std::move(before), {}}));
  return *nodes.back();
}

std::unique_ptr<GraphExec> instantiate(const Graph& graph) {
  auto exec = std::make_unique<GraphExec>();
  std::vector<const Node*> left;
  for (const auto& node : graph.nodes) left.push_back(node.get());
  while (!left.empty()) {
    auto ready = std::ranges::find_if(left, [&](const Node* node) {
      return std::ranges::all_of(node->before, [&](const Node* earlier) { return exec->step_of.contains(earlier); });
    });
    require(ready != left.end());
    GraphExec::Step step{(*ready)->work, {}};
    for (const Node* earlier : (*ready)->before) step.before.push_back(exec->step_of.at(earlier));
    exec->step_of[*ready] = exec->steps.size();
    exec->steps.push_back(std::move(step));
    left.erase(ready);
  }
  return exec;
}

double run_graph(Runtime& runtime, const GraphExec& graph, const Stream& stream) {
  std::vector<double> ends;
  double last = 0;
  for (const GraphExec::Step& step : graph.steps) {
    double start = 0;
    for (size_t earlier : step.before) start = std::max(start, ends[earlier]);
    ends.push_back(start + execute(runtime, step.work, stream));
    last = std::max(last, ends.back());
  }
  return last;
}

void add_captured(Stream& stream, Work work) {
  Capture& capture = *stream.capture;
  require(capture.valid, cudaErrorStreamCaptureInvalidated);
  std::vector<Node*>& tail = capture.tails[&stream];
  Node& node = capture.graph->add(std::move(work), tail);
  tail = {&node};
}

void require_no_blocking_capture(Runtime& runtime) {
  for (Stream* stream : runtime.timeline.streams()) {
    if (!stream->capture || !stream->blocking) continue;
    stream->capture->valid = false;
    throw CudaError{cudaErrorStreamCaptureImplicit};
  }
}

cudaStreamCaptureMode& thread_capture_mode() {
  thread_local cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  return mode;
}

void require_no_capture(Runtime& runtime) {
  if (thread_capture_mode() == cudaStreamCaptureModeRelaxed) return;
  for (Stream* stream : runtime.timeline.streams()) {
    if (!stream->capture || stream->capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if (stream->capture->mode == cudaStreamCaptureModeThreadLocal &&
        stream->capture->thread != std::this_thread::get_id()) {
      continue;
    }
    stream->capture->valid = false;
    throw CudaError{cudaErrorStreamCaptureUnsupported};
  }
}

}  // namespace vgpu
