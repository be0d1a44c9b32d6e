#include "tensor/cuda_graph.h"

#include <cuda_runtime_api.h>

#include <utility>

#include "tensor/cuda.h"

namespace weft::cuda {

namespace {

thread_local Recording* current = nullptr;

// Ends a capture however the work ends.
cudaGraph_t record(Recording& recording, const std::function<void()>& work) {
  check(!current, "[cuda graph] a graph cannot be recorded while another is");
  synchronize();
  // Relaxed: memory may be allocated while a graph is recorded.
  check_cuda(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed), "recording a graph");
  allocator().use_private(recording.memory);
  current = &recording;
  cudaGraph_t recorded = nullptr;
  const auto end = [&] {
    current = nullptr;
    allocator().use_private(nullptr);
    return cudaStreamEndCapture(stream(), &recorded);
  };
  try {
    work();
  } catch (...) {
    if (end() == cudaSuccess) cudaGraphDestroy(recorded);
    throw;
  }
  check_cuda(end(), "recording a graph");
  return recorded;
}

}  // namespace

Graph::Graph(const std::function<void()>& work, Random* random) : random_(random) {
  Recording recording;
  recording.memory = memory_;
  recording.random = random;
  if (random) {
    shift_ = Tensor::zeros({}, DType::i64, Device::cuda);
    recording.shift = static_cast<const uint64_t*>(shift_.raw());
    first_offset_ = random->offset;
  }
  recording.first_storage = Storage(0, Device::cpu).id;
  try {
    const cudaGraph_t recorded = record(recording, work);
    const cudaError_t code = cudaGraphInstantiate(&graph_, recorded, 0);
    cudaGraphDestroy(recorded);
    check_cuda(code, "making a graph ready");
  } catch (...) {
    if (random) random->offset = first_offset_;
    allocator().give_up_private(memory_);
    throw;
  }
  before_launch_ = std::move(recording.before_launch);
  if (random) drawn_ = std::exchange(random->offset, first_offset_) - first_offset_;
}

Graph::~Graph() {
  cudaStreamSynchronize(stream());
  cudaGraphExecDestroy(graph_);
  allocator().give_up_private(memory_);
}

void Graph::launch() {
  for (const auto& work : before_launch_) work();
  if (random_) {
    const uint64_t moved = random_->offset - first_offset_;
    copy_to_device(shift_.raw(), &moved, sizeof moved);
    random_->offset += drawn_;
  }
  check_cuda(cudaGraphLaunch(graph_, stream()), "starting a graph");
}

Tensor Recording::allocate_outside(const Shape& shape, DType dtype) const {
  allocator().use_private(nullptr);
  const Tensor t = Tensor::empty(shape, dtype, Device::cuda);
  allocator().use_private(memory);
  return t;
}

Recording* recording() { return current; }

const uint64_t* draw_shift(uint64_t seed) {
  if (!current) return nullptr;
  check(current->random && current->random->seed == seed,
        "[cuda graph] what is recorded draws from a generator that the graph was not given");
  return current->shift;
}

}  // namespace weft::cuda
