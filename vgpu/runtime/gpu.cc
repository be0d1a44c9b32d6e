#include "vgpu/runtime/gpu.h"

#include <stdexcept>
#include <string>

namespace vgpu {
namespace {

constexpr double giga = 1e9, tera = 1e12;
constexpr size_t kib = 1024, mib = 1024 * kib, gib = 1024 * mib;

// Sources: NVIDIA's H100 SXM5, A100 SXM4 80 GB and GeForce RTX 4090 data sheets and architecture whitepapers; lanes
// from the CUDA programming guide. L2: the A100 whitepaper says 5,120 bytes a clock; for the others, of which NVIDIA
// publishes none, the 64 bytes a clock that an SM can take from it at most.
constexpr Gpu gpus[] = {
    {.key = "h100",
     .name = "NVIDIA H100 80GB HBM3",
     .major = 9,
     .minor = 0,
     .sm_count = 132,
     .sm_clock = 1.98 * giga,
     .memory_bytes = 80 * gib,
     .memory_bandwidth = 3.35 * tera,
     .memory_bus_bits = 5120,
     .memory_clock = 2.619 * giga,
     .l2_bytes = 50 * mib,
     .l2_bandwidth = 64 * 132 * 1.98 * giga,
     .threads_per_sm = 2048,
     .blocks_per_sm = 32,
     .shared_per_sm = 228 * kib,
     .shared_per_block_optin = 227 * kib,
     .link_bandwidth = 64 * giga,
     .f32_lanes = 128,
     .f64_lanes = 64,
     .f16_lanes = 256,
     .special_lanes = 16,
     .mma_f16 = 989.4 * tera,
     .mma_bf16 = 989.4 * tera,
     .mma_tf32 = 494.7 * tera,
     .mma_8bit = 1978.9 * tera,
     .mma_f64 = 66.9 * tera},
    {.key = "a100",
     .name = "NVIDIA A100-SXM4-80GB",
     .major = 8,
     .minor = 0,
     .sm_count = 108,
     .sm_clock = 1.41 * giga,
     .memory_bytes = 80 * gib,
     .memory_bandwidth = 2.039 * tera,
     .memory_bus_bits = 5120,
     .memory_clock = 1.593 * giga,
     .l2_bytes = 40 * mib,
     .l2_bandwidth = 5120 * 1.41 * giga,
     .threads_per_sm = 2048,
     .blocks_per_sm = 32,
     .shared_per_sm = 164 * kib,
     .shared_per_block_optin = 163 * kib,
     .link_bandwidth = 32 * giga,
     .f32_lanes = 64,
     .f64_lanes = 32,
     .f16_lanes = 256,
     .special_lanes = 16,
     .mma_f16 = 312 * tera,
     .mma_bf16 = 312 * tera,
     .mma_tf32 = 156 * tera,
     .mma_8bit = 624 * tera,
     .mma_f64 = 19.5 * tera},
    {.key = "rtx4090",
     .name = "NVIDIA GeForce RTX 4090",
     .major = 8,
     .minor = 9,
     .sm_count = 128,
     .sm_clock = 2.52 * giga,
     .memory_bytes = 24 * gib,
     .memory_bandwidth = 1.008 * tera,
     .memory_bus_bits = 384,
     .memory_clock = 10.501 * giga,
     .l2_bytes = 72 * mib,
     .l2_bandwidth = 64 * 128 * 2.52 * giga,
     .threads_per_sm = 1536,
     .blocks_per_sm = 24,
     .shared_per_sm = 100 * kib,
     .shared_per_block_optin = 99 * kib,
     .link_bandwidth = 32 * giga,
     .f32_lanes = 128,
     .f64_lanes = 2,
     .f16_lanes = 128,
     .special_lanes = 16,
     .mma_f16 = 330.3 * tera,
     .mma_bf16 = 165.2 * tera,
     .mma_tf32 = 82.6 * tera,
     .mma_8bit = 660.6 * tera,
     .mma_f64 = 1.29 * tera},
};

}  // namespace

const Gpu& gpu_named(std::string_view key) {
  std::string known;
  for (const Gpu& gpu : gpus) {
    if (key == gpu.key) return gpu;
    known += (known.empty() ? "" : ", ") + std::string(gpu.key);
  }
  throw std::invalid_argument("--gpu takes one of " + known + " but is '" + std::string(key) + "'");
}

}  // namespace vgpu
