// The caching allocator behind every tensor. A freed block is kept for the next request of its size class, since a training
// step asks for the same sizes again and again and fresh pages cost a fault each.
#pragma once

#include <cstdint>
#include <memory>

#include "tensor/device.h"

namespace weft {

struct MemoryStats {
  int64_t live_bytes = 0;    // held by tensors now
  int64_t peak_bytes = 0;    // highest live_bytes since the start or the last reset
  int64_t cached_bytes = 0;  // kept for reuse; live + cached stays below 1.25 times the peak
};

MemoryStats memory_stats(Device device);
void reset_peak_memory(Device device);
/// Gives every cached block back to the system.
void release_cached_memory(Device device);

/// Bytes on a device, shared by the tensors that view them.
struct Storage {
  void* data = nullptr;
  int64_t bytes = 0;
  Device device = Device::cpu;
  uint64_t id = 0;       // never reused, so that what is derived from the bytes can be cached
  uint64_t version = 0;  // counts in-place changes
  std::shared_ptr<const void> owner;  // set when the bytes belong to somebody else, such as a mapped file

  Storage(int64_t bytes, Device device);
  Storage(const void* bytes_of_owner, int64_t bytes, std::shared_ptr<const void> owner);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
};

}  // namespace weft
