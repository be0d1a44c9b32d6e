#pragma once

#include <cstddef>
#include <string_view>

namespace vgpu {

/// A GPU as its maker publishes it. Rates are peaks, so that a bound made of them is one.
struct Gpu {
  const char* key;   ///< what --gpu takes
  const char* name;  ///< what cudaGetDeviceProperties says
  int major, minor;  ///< compute capability
  int sm_count;
  double sm_clock;  ///< boost, Hz
  size_t memory_bytes;
  double memory_bandwidth;  ///< bytes a second
  int memory_bus_bits;
  double memory_clock;  ///< Hz
  size_t l2_bytes;
  double l2_bandwidth;  ///< bytes a second
  int threads_per_sm, blocks_per_sm;
  size_t shared_per_sm, shared_per_block_optin;
  double link_bandwidth;  ///< PCIe, bytes a second each way

  // Results per clock and SM (CUDA programming guide, "Arithmetic Instructions").
  int f32_lanes, f64_lanes, f16_lanes, special_lanes;
  // Tensor cores, dense, FLOP a second.
  double mma_f16, mma_bf16, mma_tf32, mma_8bit, mma_f64;

  int sm() const { return major * 10 + minor; }
};

constexpr size_t shared_per_block_default = 48 * 1024;
constexpr size_t reserved_shared_per_block = 1024;
constexpr int registers_per_sm = 65536;
constexpr int max_threads_per_block = 1024;

/// "h100", "a100" or "rtx4090". Throws std::invalid_argument on any other name.
const Gpu& gpu_named(std::string_view key);

}  // namespace vgpu
