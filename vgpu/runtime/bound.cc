#include "vgpu/runtime/bound.h"

#include <cuda_occupancy.h>

#include <algorithm>
#include <string_view>

namespace vgpu {
namespace {

constexpr double sector_bytes = 32;
constexpr int issue_slots = 4;  // warp instructions per clock and SM
constexpr int fewest_registers = 16;

bool has(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

// "fma.rn.f32" of "@%p1 fma.rn.f32 %f16, ...": the operands' names must not be taken for types.
std::string_view opcode(std::string_view text) {
  if (text.starts_with('@')) text.remove_prefix(std::min(text.find_first_of(" \t"), text.size()));
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  return text.substr(0, text.find_first_of(" \t;"));
}

// FLOP by the unit that executes them.
struct Work {
  double f32 = 0, f16 = 0, f64 = 0, special = 0;
  double mma_seconds = 0;
};

double tensor_rate(const Gpu& gpu, std::string_view instruction) {
  if (has(instruction, ".f64")) return gpu.mma_f64;
  if (has(instruction, ".tf32")) return gpu.mma_tf32;
  if (has(instruction, ".bf16")) return gpu.mma_bf16;
  if (has(instruction, ".f16")) return gpu.mma_f16;
  return gpu.mma_8bit;
}

Work sort_work(const Gpu& gpu, const KernelCounts& counts) {
  Work work;
  for (const InstructionCounts& instruction : counts.instructions) {
    const Counts& count = instruction.counts;
    std::string_view text = opcode(instruction.text);
    work.special += static_cast<double>(count.flop_mufu);
    if (count.flop_mma) work.mma_seconds += static_cast<double>(count.flop_mma) / tensor_rate(gpu, text);
    auto flop = static_cast<double>(count.flop_fma);
    if (has(text, ".f64")) {
      work.f64 += flop;
    } else if (has(text, ".f16") || has(text, ".bf16")) {
      work.f16 += flop;
    } else {
      work.f32 += flop;
    }
  }
  return work;
}

}  // namespace

Bound speed_of_light(const Gpu& gpu, const KernelCounts& counts, uint64_t blocks) {
  const Counts& total = counts.total;
  Work work = sort_work(gpu, counts);
  double sms = gpu.sm_count;
  double cycles = sms * gpu.sm_clock;
  double busiest = blocks ? std::max(1.0, static_cast<double>((blocks + gpu.sm_count - 1) / gpu.sm_count) * sms /
                                              static_cast<double>(blocks))
                          : 1.0;
  auto bytes = static_cast<double>(counts.unique_read_bytes + counts.unique_written_bytes);
  Bound bound;
  bound.terms = {
      {"memory", bytes / gpu.memory_bandwidth},
      {"L2", sector_bytes * static_cast<double>(total.global_sectors) / gpu.l2_bandwidth},
      {"shared memory", busiest * static_cast<double>(total.shared_wavefronts) / cycles},
      {"issue", busiest * static_cast<double>(total.instructions) / (issue_slots * cycles)},
      {"f32", busiest * work.f32 / (2 * gpu.f32_lanes * cycles)},
      {"f16", busiest * work.f16 / (2 * gpu.f16_lanes * cycles)},
      {"f64", busiest * work.f64 / (2 * gpu.f64_lanes * cycles)},
      {"special functions", busiest * work.special / (gpu.special_lanes * cycles)},
      {"tensor cores", busiest * work.mma_seconds},
  };
  std::ranges::stable_sort(bound.terms, [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  bound.seconds = bound.terms.front().seconds;
  return bound;
}

Occupancy occupancy(const Gpu& gpu, const Resources& resources, size_t static_shared, size_t dynamic_shared,
                    int threads, size_t max_dynamic_shared) {
  cudaOccDeviceProp device{};
  device.computeMajor = gpu.major;
  device.computeMinor = gpu.minor;
  device.maxThreadsPerBlock = max_threads_per_block;
  device.maxThreadsPerMultiprocessor = gpu.threads_per_sm;
  device.regsPerBlock = registers_per_sm;
  device.regsPerMultiprocessor = registers_per_sm;
  device.warpSize = 32;
  device.sharedMemPerBlock = shared_per_block_default;
  device.sharedMemPerMultiprocessor = gpu.shared_per_sm;
  device.numSms = gpu.sm_count;
  device.sharedMemPerBlockOptin = gpu.shared_per_block_optin;
  device.reservedSharedMemPerBlock = reserved_shared_per_block;
  cudaOccFuncAttributes function{};
  function.maxThreadsPerBlock = max_threads_per_block;
  function.numRegs = std::max(resources.registers, fewest_registers);
  function.sharedSizeBytes = static_shared;
  function.partitionedGCConfig = PARTITIONED_GC_OFF;
  function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  function.maxDynamicSharedSizeBytes = std::max(max_dynamic_shared, dynamic_shared);
  function.numBlockBarriers = 1;
  cudaOccDeviceState state{};
  cudaOccResult result{};
  Occupancy occupancy;
  if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state, threads, dynamic_shared) !=
      CUDA_OCC_SUCCESS) {
    occupancy.limit = "unknown";
    return occupancy;
  }
  occupancy.blocks_per_sm = result.activeBlocksPerMultiprocessor;
  int warps = (threads + 31) / 32;
  occupancy.fraction = static_cast<double>(occupancy.blocks_per_sm * warps) / (gpu.threads_per_sm / 32);
  auto note = [&](unsigned flag, const char* name) {
    if (!(result.limitingFactors & flag)) return;
    occupancy.limit += (occupancy.limit.empty() ? "" : ", ") + std::string(name);
  };
  note(OCC_LIMIT_REGISTERS, "registers");
  note(OCC_LIMIT_SHARED_MEMORY, "shared memory");
  note(OCC_LIMIT_WARPS, "warps");
  note(OCC_LIMIT_BLOCKS, "blocks");
  if (!resources.registers) occupancy.limit += ", registers unknown";
  return occupancy;
}

}  // namespace vgpu
