#include "tensor/cuda_graph.h"

#include <cuda_runtime_api.h>

#include "tensor/cuda.h"

namespace weft::cuda {

Graph::Graph(const std::function<void()>& work) {
  synchronize();
  cudaGraph_t recorded = nullptr;
  // Relaxed: memory may be allocated while a graph is recorded.
  check_cuda(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed), "recording a graph");
  allocator().use_private(memory_);
  try {
    work();
  } catch (...) {
    allocator().use_private(nullptr);
    if (cudaStreamEndCapture(stream(), &recorded) == cudaSuccess) cudaGraphDestroy(recorded);
    allocator().give_up_private(memory_);
    throw;
  }
  allocator().use_private(nullptr);
  check_cuda(cudaStreamEndCapture(stream(), &recorded), "recording a graph");
  const cudaError_t code = cudaGraphInstantiate(&graph_, recorded, 0);
  cudaGraphDestroy(recorded);
  check_cuda(code, "making a graph ready");
}

Graph::~Graph() {
  cudaStreamSynchronize(stream());
  cudaGraphExecDestroy(graph_);
  allocator().give_up_private(memory_);
}

void Graph::launch() { check_cuda(cudaGraphLaunch(graph_, stream()), "starting a graph"); }

}  // namespace weft::cuda
