// What the allocators of all devices share: freed blocks are kept by size class for the next request, since a training step asks
// for the same sizes again and again and fresh memory is slow to come by.
#pragma once

#include <bit>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "tensor/memory.h"

namespace weft {

class CachingAllocator {
 public:
  /// Freed blocks of a size class, and when one was last asked for.
  struct Class {
    std::vector<void*> blocks;
    int64_t last_use = 0;
  };
  using Blocks = std::map<int64_t, Class>;

  virtual ~CachingAllocator() = default;

  void* allocate(int64_t bytes) {
    const int64_t size = size_class(bytes);
    const std::lock_guard lock(mutex_);
    Blocks& cached = private_ ? *private_ : cached_;
    Class& same_size = cached[size];
    same_size.last_use = ++uses_;
    void* block = nullptr;
    if (!same_size.blocks.empty()) {
      block = same_size.blocks.back();
      same_size.blocks.pop_back();
      stats_.cached_bytes -= size;
    } else if (private_) {
      block = from_system(size);
      if (!block) out_of_memory(size, stats_);
      owner_[block] = private_;
    } else {
      const int64_t peak = std::max(stats_.peak_bytes, stats_.live_bytes + size);
      release_until(peak + peak / 4 - stats_.live_bytes - size);
      block = from_system(size);
      if (!block && stats_.cached_bytes > 0) {
        release();
        block = from_system(size);
      }
      if (!block) out_of_memory(size, stats_);
    }
    stats_.live_bytes += size;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
    return block;
  }

  void free(void* block, int64_t bytes) {
    const int64_t size = size_class(bytes);
    const std::lock_guard lock(mutex_);
    const auto owner = owner_.find(block);
    (owner == owner_.end() ? cached_ : *owner->second)[size].blocks.push_back(block);
    stats_.live_bytes -= size;
    stats_.cached_bytes += size;
    if (owner == owner_.end() && !keeps_blocks()) release();
  }

  /// Until `blocks` is null again, blocks are new or come from `blocks`, and go back to it whenever they are freed: nobody else gets
  /// memory that work recorded now will write to when it runs.
  void use_private(std::shared_ptr<Blocks> blocks) {
    const std::lock_guard lock(mutex_);
    private_ = std::move(blocks);
  }
  /// Such blocks become everybody's, those in use as soon as they are freed.
  void give_up_private(const std::shared_ptr<Blocks>& blocks) {
    const std::lock_guard lock(mutex_);
    for (const auto& [size, of_size] : *blocks) {
      std::vector<void*>& to = cached_[size].blocks;
      to.insert(to.end(), of_size.blocks.begin(), of_size.blocks.end());
    }
    std::erase_if(owner_, [&](const auto& entry) { return entry.second == blocks; });
    if (!keeps_blocks()) release();
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

 protected:
  /// Null if there is none.
  virtual void* from_system(int64_t size) = 0;
  virtual void to_system(void* block, int64_t size) = 0;
  /// Throws, naming what was asked for and what is held.
  [[noreturn]] virtual void out_of_memory(int64_t size, const MemoryStats& held) = 0;
  /// Multiples of 64 bytes up to 4 KiB, then eighths of a power of two (at most 12.5 % more than asked for).
  virtual int64_t size_class(int64_t bytes) const {
    if (bytes <= 4096) return (bytes + 63) / 64 * 64;
    const int64_t step = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(bytes)) / 8);
    return (bytes + step - 1) / step * step;
  }
  virtual bool keeps_blocks() const { return true; }

 private:
  void release() { release_until(0); }

  // Gives blocks back until at most `limit` bytes of them are left, first those of the size that was not asked for the longest.
  void release_until(int64_t limit) {
    while (stats_.cached_bytes > limit) {
      Blocks::iterator oldest = cached_.end();
      for (auto at = cached_.begin(); at != cached_.end(); ++at) {
        if (!at->second.blocks.empty() && (oldest == cached_.end() || at->second.last_use < oldest->second.last_use)) oldest = at;
      }
      if (oldest == cached_.end()) return;  // what is left is private
      auto& [size, of_size] = *oldest;
      for (; !of_size.blocks.empty() && stats_.cached_bytes > limit; of_size.blocks.pop_back()) {
        to_system(of_size.blocks.back(), size);
        stats_.cached_bytes -= size;
      }
    }
  }

  std::mutex mutex_;
  Blocks cached_;
  int64_t uses_ = 0;
  std::shared_ptr<Blocks> private_;
  std::unordered_map<void*, std::shared_ptr<Blocks>> owner_;  // of blocks that belong to a private list
  MemoryStats stats_;
};

}  // namespace weft
