// Work on the cuda device recorded once and started again as a whole, for forward passes and training steps of fixed
// shapes: a launch of the graph costs the host microseconds, where starting its kernels one by one costs some for each.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "tensor/caching_allocator.h"
#include "tensor/philox.h"
#include "tensor/tensor.h"

struct CUgraphExec_st;

namespace weft::cuda {

class Graph {
 public:
  /// Records what work() starts on the device; nothing runs yet. work() should have run before, so that what it makes
  /// once (packed weights, say) is there; what follows parameters that the work itself changes must be made in it. What
  /// it reads and writes are the tensors that it uses now. Tensors on the host that it takes to the device are read
  /// anew before each launch (tensor/host_work.h): to run it on other values, put them there, or into its inputs on the
  /// device, with copy_from(). Draws must come from `random`, which each launch moves on as work() would. Memory that
  /// it allocates stays the graph's own. Any other copy between host and device in it is an error. What work() refers to
  /// must outlive the graph.
  explicit Graph(const std::function<void()>& work, Random* random = nullptr);
  ~Graph();
  Graph(const Graph&) = delete;

  /// Does the host's part, then runs it, in the stream's order.
  void launch();

 private:
  CUgraphExec_st* graph_ = nullptr;
  std::shared_ptr<CachingAllocator::Blocks> memory_ = std::make_shared<CachingAllocator::Blocks>();
  std::vector<std::function<void()>> before_launch_;
  Random* random_ = nullptr;
  uint64_t first_offset_ = 0, drawn_ = 0;  // of the generator: when recorded, and how far one launch moves it
  Tensor shift_;                           // on the device: how far it has moved since
};

/// A graph that is being recorded.
struct Recording {
  std::vector<std::function<void()>> before_launch;  // the host's part
  uint64_t first_storage = 0;                        // storages made while recording have this id or a higher one
  std::shared_ptr<CachingAllocator::Blocks> memory;
  const Random* random = nullptr;
  const uint64_t* shift = nullptr;

  /// On the device, but not of the graph's own memory, where work recorded before could write over it.
  Tensor allocate_outside(const Shape& shape, DType dtype) const;
};

/// The recording in progress on this thread, null if there is none.
Recording* recording();

/// Where a kernel that draws finds what to add to its stream's offset: null outside of a recording. An error if the
/// graph that is recorded was not given the generator of that seed.
const uint64_t* draw_shift(uint64_t seed);

}  // namespace weft::cuda
