#include "vgpu/runtime/arena.h"

#include <sys/mman.h>

#include <algorithm>

namespace vgpu {
namespace {

constexpr size_t page = 4096;

}  // namespace

Arena::Arena(size_t bytes) {
  void* address = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) return;
  // Large pages, where blocks are large: opening and closing then costs next to nothing.
  madvise(address, bytes, MADV_HUGEPAGE);
  base_ = static_cast<char*>(address);
  size_ = bytes;
  free_[0] = bytes;
}

Arena::~Arena() {
  if (base_) munmap(base_, size_);
}

void* Arena::allocate(size_t bytes) {
  auto fits = std::ranges::find_if(free_, [&](const auto& range) { return range.second >= bytes; });
  if (fits == free_.end()) return nullptr;
  auto [offset, room] = *fits;
  free_.erase(fits);
  if (room > bytes) free_[offset + bytes] = room - bytes;
  if (offset + bytes > used_) {
    used_ = offset + bytes;
    if (open_) protect(PROT_READ | PROT_WRITE);
  }
  return base_ + offset;
}

void Arena::forget(void* address, size_t bytes) {
  auto offset = static_cast<size_t>(static_cast<char*>(address) - base_);
  size_t first = (offset + page - 1) / page * page, last = (offset + bytes) / page * page;
  if (last > first) madvise(base_ + first, last - first, MADV_DONTNEED);
}

void Arena::free(void* address, size_t bytes) {
  auto offset = static_cast<size_t>(static_cast<char*>(address) - base_);
  auto next = free_.lower_bound(offset);
  if (next != free_.end() && offset + bytes == next->first) {
    bytes += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += bytes;
      return;
    }
  }
  free_[offset] = bytes;
}

bool Arena::contains(const void* address) const { return address >= base_ && address < base_ + size_; }

void Arena::open() {
  if (open_) return;
  open_ = true;
  protect(PROT_READ | PROT_WRITE);
}

void Arena::close() {
  if (!open_) return;
  open_ = false;
  protect(PROT_NONE);
}

void Arena::protect(int protection) {
  size_t bytes = (used_ + page - 1) / page * page;
  if (bytes) mprotect(base_, bytes, protection);
}

}  // namespace vgpu
