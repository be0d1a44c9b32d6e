#include "tensor/memory.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

namespace weft {

namespace {

constexpr int64_t page_limit = 2 << 20;  // from here on a block is its own mapping, with huge pages asked for

// Size classes: multiples of 64 bytes up to 4 KiB, then eighths of a power of two (at most 12.5 % more than asked for).
int64_t size_class(int64_t bytes) {
  if (bytes <= 4096) return (bytes + 63) / 64 * 64;
  const int64_t step = std::bit_floor(static_cast<uint64_t>(bytes)) / 8;
  return (bytes + step - 1) / step * step;
}

class CpuAllocator {
 public:
  void* allocate(int64_t bytes) {
    const int64_t size = size_class(bytes);
    const std::lock_guard lock(mutex_);
    void* block = nullptr;
    if (auto found = cached_.find(size); found != cached_.end() && !found->second.empty()) {
      block = found->second.back();
      found->second.pop_back();
      stats_.cached_bytes -= size;
    } else {
      const int64_t peak = std::max(stats_.peak_bytes, stats_.live_bytes + size);
      if (stats_.live_bytes + size + stats_.cached_bytes > peak + peak / 4) release();
      block = from_system(size);
    }
    stats_.live_bytes += size;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
    return block;
  }

  void free(void* block, int64_t bytes) {
    const int64_t size = size_class(bytes);
    const std::lock_guard lock(mutex_);
    cached_[size].push_back(block);
    stats_.live_bytes -= size;
    stats_.cached_bytes += size;
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.peak_bytes = stats_.live_bytes;
  }
  void release_all() {
    const std::lock_guard lock(mutex_);
    release();
  }

 private:
  static void* from_system(int64_t size) {
    void* block = nullptr;
    if (size >= page_limit) {
      block = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (block == MAP_FAILED) block = nullptr;
      if (block) madvise(block, size, MADV_HUGEPAGE);
    } else {
      block = std::aligned_alloc(64, size);
    }
    check_input(block != nullptr, "out of memory: {} bytes were asked for", size);
    return block;
  }

  void release() {
    for (auto& [size, blocks] : cached_) {
      for (void* block : blocks) {
        if (size >= page_limit) {
          munmap(block, size);
        } else {
          std::free(block);
        }
      }
    }
    cached_.clear();
    stats_.cached_bytes = 0;
  }

  std::mutex mutex_;
  std::map<int64_t, std::vector<void*>> cached_;
  MemoryStats stats_;
};

// Never destroyed: tensors with static lifetime may outlive any other static object.
CpuAllocator& cpu_allocator() {
  static CpuAllocator* allocator = new CpuAllocator;
  return *allocator;
}

uint64_t next_storage_id() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

MemoryStats memory_stats(Device) { return cpu_allocator().stats(); }
void reset_peak_memory(Device) { cpu_allocator().reset_peak(); }
void release_cached_memory(Device) { cpu_allocator().release_all(); }

Storage::Storage(int64_t bytes, Device device) : bytes(bytes), device(device), id(next_storage_id()) {
  check_input(device == Device::cpu, "this build of weft has no cuda device: it was built without nvcc");
  if (bytes > 0) data = cpu_allocator().allocate(bytes);
}

Storage::Storage(const void* bytes_of_owner, int64_t bytes, std::shared_ptr<const void> owner)
    : data(const_cast<void*>(bytes_of_owner)), bytes(bytes), id(next_storage_id()), owner(std::move(owner)) {}

Storage::~Storage() {
  if (data && !owner) cpu_allocator().free(data, bytes);
}

}  // namespace weft
