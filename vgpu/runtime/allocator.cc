#include "vgpu/runtime/allocator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace vgpu {
namespace {

constexpr size_t alignment = 512;
constexpr size_t guard = 4096;                // bytes between two blocks of device memory that belong to neither
constexpr size_t poison_limit = 64u << 20;    // larger blocks are left to the kernel's lazy pages
constexpr size_t retired_limit = 256u << 20;  // bytes kept away after a free
constexpr int poison = 0xff;                  // a NaN in every floating-point type

size_t rounded(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

bool on_device(MemoryKind kind) { return kind != MemoryKind::host; }

}  // namespace

// Addresses for what is in use, what is retired, and what is lost between blocks.
Allocator::Allocator(Memory& memory, size_t device_bytes)
    : memory_(memory), arena_(2 * device_bytes), device_bytes_(device_bytes) {}

void* Allocator::take(size_t bytes, MemoryKind kind) {
  void* address = kind == MemoryKind::device ? arena_.allocate(rounded(bytes) + guard) : nullptr;
  return address ? address : std::aligned_alloc(alignment, rounded(bytes));
}

void Allocator::give_back(void* address, size_t bytes) {
  if (arena_.contains(address)) {
    arena_.forget(address, rounded(bytes) + guard);
    arena_.free(address, rounded(bytes) + guard);
  } else {
    std::free(address);
  }
}

void* Allocator::allocate(size_t bytes, MemoryKind kind, const std::string& call) {
  if (bytes == 0) return nullptr;
  if (bytes > device_bytes_ * 4) return nullptr;
  size_t size = rounded(bytes);
  if (on_device(kind) && size > device_bytes_ - device_used_) return nullptr;
  void* address = take(bytes, kind);
  if (!address) return nullptr;
  if (kind == MemoryKind::device && size <= poison_limit) {
    arena_.open();
    std::memset(address, poison, size);
  }
  if (kind == MemoryKind::managed) std::memset(address, 0, size);
  std::string name = fmt::format("{} #{} of {} bytes", call, ++numbers_[call], bytes);
  memory_.add(address, bytes, kind, name, kind != MemoryKind::device);
  blocks_[address] = {bytes, kind, name};
  if (on_device(kind)) {
    device_used_ += size;
    device_peak_ = std::max(device_peak_, device_used_);
  }
  return address;
}

bool Allocator::free(void* address, MemoryKind kind, const std::string& call) {
  auto found = blocks_.find(address);
  if (found == blocks_.end() || on_device(found->second.kind) != on_device(kind)) return false;
  size_t bytes = found->second.bytes;
  memory_.remove(address, call);
  if (on_device(kind)) device_used_ -= rounded(bytes);
  blocks_.erase(found);
  retire(address, bytes);
  return true;
}

void Allocator::retire(void* address, size_t bytes) {
  if (arena_.contains(address)) arena_.forget(address, rounded(bytes) + guard);
  retired_.emplace_back(address, bytes);
  retired_bytes_ += bytes;
  while (retired_bytes_ > retired_limit) {
    auto [oldest, size] = retired_.front();
    retired_.pop_front();
    retired_bytes_ -= size;
    give_back(oldest, size);
  }
}

Allocator::Leaks Allocator::leaks() const {
  constexpr size_t most_lines = 10;
  Leaks leaks;
  for (const auto& [address, block] : blocks_) {
    if (leaks.count++ < most_lines) leaks.text += fmt::format("  {} at {}\n", block.name, address);
    leaks.bytes += block.bytes;
  }
  if (leaks.count > most_lines) leaks.text += fmt::format("  and {} more\n", leaks.count - most_lines);
  return leaks;
}

void Allocator::reset() {
  for (auto& [address, block] : blocks_) {
    memory_.remove(address, "cudaDeviceReset");
    give_back(const_cast<void*>(address), block.bytes);
  }
  blocks_.clear();
  device_used_ = 0;
}

}  // namespace vgpu
