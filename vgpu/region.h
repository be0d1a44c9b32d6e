// Allocations with what is known of their bytes: which were written, who touched them in this launch.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "vgpu/machine.h"
#include "vgpu/types.h"

namespace vgpu {

class GlobalShadow;

// Zero pages that cost nothing until they are touched.
class LazyBytes {
 public:
  LazyBytes() = default;
  explicit LazyBytes(size_t bytes);
  ~LazyBytes();
  LazyBytes(LazyBytes&& other) noexcept { *this = std::move(other); }
  LazyBytes& operator=(LazyBytes&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  u8* data() const { return data_; }

 private:
  u8* data_ = nullptr;
  size_t bytes_ = 0;
};

// Which 32-byte sectors a launch read and wrote, a bit each.
struct Footprint {
  static constexpr int page_shift = 16;  // 2,048 sectors a page
  std::atomic<u64> read[32], written[32];
  std::atomic<bool> touched;
};

struct Region {
  Region(u64 begin, u64 end, MemoryKind kind, std::string name);
  ~Region();
  u64 lo, hi;
  MemoryKind kind;
  std::string name;
  bool initialised = false;   // all of it; `written` is not kept then
  LazyBytes written_storage;  // 0xff for each written byte
  u8* written = nullptr;
  std::unique_ptr<GlobalShadow> shadow;  // made at the first race-checked access
  std::once_flag shadow_made;
  LazyBytes footprint_storage;
  Footprint* footprints = nullptr;
  std::once_flag footprint_made;
};

struct Memory::Impl {
  mutable std::mutex mutex;
  std::map<u64, std::unique_ptr<Region>> regions;  // by first address
  struct Freed {
    u64 lo, hi;
    std::string name, where;
  };
  std::map<u64, Freed> freed;
  bool track_written = true;  // off where nobody asks

  Region* find(u64 address, size_t bytes) const;
  const Freed* find_freed(u64 address) const;
  // The live allocation nearest to an address, for reports.
  Region* nearest(u64 address) const;
};

}  // namespace vgpu
