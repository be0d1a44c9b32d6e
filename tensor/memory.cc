#include "tensor/memory.h"

#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>

#include "tensor/caching_allocator.h"
#ifdef WEFT_HAS_CUDA
#include "tensor/cuda.h"
#endif

namespace weft {

namespace {

constexpr int64_t huge_page = 2 << 20;  // from here on a block is its own mapping, with huge pages asked for

// A mapping that begins where a huge page may; what lies before would be small pages, 512 of them.
void* map_aligned(int64_t size) {
  void* const mapped = mmap(nullptr, size + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* const from = static_cast<std::byte*>(mapped);
  const int64_t before = -reinterpret_cast<intptr_t>(from) & (huge_page - 1);
  if (before > 0) munmap(from, before);
  munmap(from + before + size, huge_page - before);
  return from + before;
}

class CpuAllocator : public CachingAllocator {
  void* from_system(int64_t size) override {
    if (size < huge_page) return std::aligned_alloc(64, size);
    void* block = map_aligned(size);
    if (block) madvise(block, size, MADV_HUGEPAGE);
    return block;
  }

  void to_system(void* block, int64_t size) override {
    if (size >= huge_page) {
      munmap(block, size);
    } else {
      std::free(block);
    }
  }

  void out_of_memory(int64_t size, const MemoryStats&) override { fail("out of memory: {} bytes were asked for", size); }
};

CachingAllocator& allocator_of(Device device) {
  // Never destroyed: tensors with static lifetime may outlive any other static object.
  static CachingAllocator* cpu = new CpuAllocator;
  if (device == Device::cpu) return *cpu;
#ifdef WEFT_HAS_CUDA
  return cuda::allocator();
#else
  fail("this build of weft has no cuda device: it was built without nvcc");
#endif
}

uint64_t next_storage_id() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

MemoryStats memory_stats(Device device) { return allocator_of(device).stats(); }
void reset_peak_memory(Device device) { allocator_of(device).reset_peak(); }
void release_cached_memory(Device device) { allocator_of(device).release_all(); }

Storage::Storage(int64_t bytes, Device device) : bytes(bytes), device(device), id(next_storage_id()) {
  CachingAllocator& allocator = allocator_of(device);
  if (bytes > 0) data = allocator.allocate(bytes);
}

Storage::Storage(const void* bytes_of_owner, int64_t bytes, std::shared_ptr<const void> owner)
    : data(const_cast<void*>(bytes_of_owner)), bytes(bytes), id(next_storage_id()), owner(std::move(owner)) {}

Storage::~Storage() {
  if (data && !owner) allocator_of(device).free(data, bytes);
}

}  // namespace weft
