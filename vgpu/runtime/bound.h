#pragma once

#include <string>
#include <vector>

#include "vgpu/machine.h"
#include "vgpu/runtime/cubin.h"
#include "vgpu/runtime/gpu.h"

namespace vgpu {

/// How many blocks an SM holds at once, by cuda_occupancy.h.
struct Occupancy {
  int blocks_per_sm = 0;
  double fraction = 0;  ///< of the SM's warps
  std::string limit;    ///< "registers", "shared memory", "warps", "blocks"; several are joined by ", "
};
/// `registers` 0 (unknown) counts as 16, the least that any kernel has; the limit then says "registers unknown".
Occupancy occupancy(const Gpu& gpu, const Resources& resources, size_t static_shared, size_t dynamic_shared,
                    int threads, size_t max_dynamic_shared);

/// A time that no launch with these counts can go below on this GPU, from cold caches: the largest of its terms.
struct Bound {
  struct Term {
    std::string
        name;  ///< "memory", "L2", "shared memory", "issue", "f32", "f16", "f64", "special functions", "tensor cores"
    double seconds;
  };
  std::vector<Term> terms;  ///< the largest first
  double seconds = 0;
  const std::string& limiter() const { return terms.front().name; }
};

/// `counts` are those of one launch of `blocks` blocks, assumed to be alike. What SMs do is divided among as many of
/// them as have work: the busiest runs ceil(blocks / SMs) blocks.
Bound speed_of_light(const Gpu& gpu, const KernelCounts& counts, uint64_t blocks);

}  // namespace vgpu
