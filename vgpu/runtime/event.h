#pragma once

#include <memory>
#include <vector>

#include "vgpu/runtime/graph.h"
#include "vgpu/runtime/timeline.h"

namespace vgpu {

/// Its address is the cudaEvent_t.
struct Event {
  unsigned flags = 0;
  OperationPtr recorded;             // null: never recorded
  std::shared_ptr<Capture> capture;  // where the last record was in a capture
  std::vector<Node*> nodes;          // what the capturing stream had queued by then
};

}  // namespace vgpu
