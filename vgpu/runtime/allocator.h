#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <string>

#include "vgpu/machine.h"
#include "vgpu/runtime/arena.h"

namespace vgpu {

/// Device, managed and pinned memory. All is host memory; that of the device is closed to the host while no work runs,
/// and what is freed stays away for a while, so that late accesses are told apart.
class Allocator {
 public:
  Allocator(Memory& memory, size_t device_bytes);

  /// `call` names the API call in reports. Null when the modelled GPU or the machine has not that much left; 0 bytes
  /// give null too.
  void* allocate(size_t bytes, MemoryKind kind, const std::string& call);
  /// False if no allocation made by allocate() begins there.
  bool free(void* address, MemoryKind kind, const std::string& call);
  bool owns(const void* address) const { return blocks_.contains(address); }
  Arena& arena() { return arena_; }

  size_t device_total() const { return device_bytes_; }
  size_t device_used() const { return device_used_; }
  size_t device_peak() const { return device_peak_; }

  /// What the program never freed: its number, bytes, and a text of one line each.
  struct Leaks {
    size_t count = 0, bytes = 0;
    std::string text;
  };
  Leaks leaks() const;
  /// Frees everything (cudaDeviceReset).
  void reset();

 private:
  struct Block {
    size_t bytes;
    MemoryKind kind;
    std::string name;
  };
  void* take(size_t bytes, MemoryKind kind);
  void give_back(void* address, size_t bytes);
  void retire(void* address, size_t bytes);

  Memory& memory_;
  Arena arena_;
  size_t device_bytes_, device_used_ = 0, device_peak_ = 0;
  std::map<const void*, Block> blocks_;
  std::map<std::string, int> numbers_;  // how often each call was made
  std::deque<std::pair<void*, size_t>> retired_;
  size_t retired_bytes_ = 0;
};

}  // namespace vgpu
