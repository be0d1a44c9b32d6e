// Work on the cuda device recorded once and started again as a whole, for a forward pass of fixed shapes: a launch of
// the graph costs the host microseconds, where starting its kernels one by one costs some for each.
#pragma once

#include <functional>
#include <memory>

#include "tensor/caching_allocator.h"

struct CUgraphExec_st;

namespace weft::cuda {

class Graph {
 public:
  /// Records what work() starts on the device; nothing runs yet. work() should have run before, so that what it makes
  /// once (packed weights, say) is there. What it reads and writes are the tensors that it uses now: to run it on other
  /// values, put them into its inputs with copy_from(). Memory that it allocates stays the graph's own. A copy between
  /// host and device in it is an error.
  explicit Graph(const std::function<void()>& work);
  ~Graph();
  Graph(const Graph&) = delete;

  /// Runs it, in the stream's order.
  void launch();

 private:
  CUgraphExec_st* graph_ = nullptr;
  std::shared_ptr<CachingAllocator::Blocks> memory_ = std::make_shared<CachingAllocator::Blocks>();
};

}  // namespace weft::cuda
