#include "vgpu/region.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "vgpu/shadow.h"

namespace vgpu {

LazyBytes::LazyBytes(size_t bytes) : bytes_(bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<u8*>(p);
}

LazyBytes::~LazyBytes() {
  if (data_) munmap(data_, bytes_);
}

Region::Region(u64 begin, u64 end, MemoryKind k, std::string n) : lo(begin), hi(end), kind(k), name(std::move(n)) {}
Region::~Region() = default;

Region* Memory::Impl::find(u64 address, size_t bytes) const {
  auto it = regions.upper_bound(address);
  if (it == regions.begin()) return nullptr;
  Region* r = std::prev(it)->second.get();
  return address >= r->lo && address + bytes <= r->hi ? r : nullptr;
}

const Memory::Impl::Freed* Memory::Impl::find_freed(u64 address) const {
  auto it = freed.upper_bound(address);
  if (it == freed.begin()) return nullptr;
  const Freed& f = std::prev(it)->second;
  return address < f.hi ? &f : nullptr;
}

Region* Memory::Impl::nearest(u64 address) const {
  auto it = regions.upper_bound(address);
  Region* before = it == regions.begin() ? nullptr : std::prev(it)->second.get();
  Region* after = it == regions.end() ? nullptr : it->second.get();
  if (!before || !after) return before ? before : after;
  return address - before->hi < after->lo - address ? before : after;
}

Memory::Memory() : impl_(std::make_unique<Impl>()) {}
Memory::~Memory() = default;

void Memory::add(const void* address, size_t bytes, MemoryKind kind, std::string name, bool initialised) {
  const std::lock_guard lock(impl_->mutex);
  const u64 lo = reinterpret_cast<u64>(address), hi = lo + bytes;
  auto& freed = impl_->freed;
  for (auto it = freed.begin(); it != freed.end();)
    it = it->second.lo < hi && lo < it->second.hi ? freed.erase(it) : std::next(it);
  auto region = std::make_unique<Region>(lo, hi, kind, std::move(name));
  region->initialised = initialised || !impl_->track_written || bytes == 0;
  if (!region->initialised) {
    region->written_storage = LazyBytes(bytes);
    region->written = region->written_storage.data();
  }
  impl_->regions[lo] = std::move(region);
}

bool Memory::remove(const void* address, std::string where) {
  const std::lock_guard lock(impl_->mutex);
  const auto it = impl_->regions.find(reinterpret_cast<u64>(address));
  if (it == impl_->regions.end()) return false;
  const Region& r = *it->second;
  impl_->freed[r.lo] = {r.lo, r.hi, r.name, std::move(where)};
  impl_->regions.erase(it);
  return true;
}

std::optional<Allocation> Memory::find(const void* address, size_t bytes) const {
  const std::lock_guard lock(impl_->mutex);
  const Region* r = impl_->find(reinterpret_cast<u64>(address), bytes);
  if (!r) return std::nullopt;
  return Allocation{r->lo, r->hi - r->lo, r->kind, r->name};
}

std::vector<Allocation> Memory::live() const {
  const std::lock_guard lock(impl_->mutex);
  std::vector<Allocation> out;
  for (const auto& [lo, r] : impl_->regions) out.push_back({r->lo, r->hi - r->lo, r->kind, r->name});
  return out;
}

size_t Memory::live_bytes(MemoryKind kind) const {
  const std::lock_guard lock(impl_->mutex);
  size_t sum = 0;
  for (const auto& [lo, r] : impl_->regions) sum += r->kind == kind ? r->hi - r->lo : 0;
  return sum;
}

void Memory::written(const void* address, size_t bytes) {
  const std::lock_guard lock(impl_->mutex);
  const u64 a = reinterpret_cast<u64>(address);
  if (Region* r = impl_->find(a, bytes); r && r->written) std::memset(r->written + (a - r->lo), 0xff, bytes);
}

void Memory::copied(const void* to, const void* from, size_t bytes) {
  const std::lock_guard lock(impl_->mutex);
  const u64 d = reinterpret_cast<u64>(to), s = reinterpret_cast<u64>(from);
  Region *rd = impl_->find(d, bytes), *rs = impl_->find(s, bytes);
  if (!rd || !rd->written) return;
  u8* state = rd->written + (d - rd->lo);
  if (rs && rs->written) {
    std::memmove(state, rs->written + (s - rs->lo), bytes);
  } else {
    std::memset(state, 0xff, bytes);
  }
}

std::optional<size_t> Memory::first_uninitialised(const void* address, size_t bytes) const {
  const std::lock_guard lock(impl_->mutex);
  const u64 a = reinterpret_cast<u64>(address);
  const Region* r = impl_->find(a, bytes);
  if (!r || !r->written) return std::nullopt;
  const u8* state = r->written + (a - r->lo);
  for (size_t i = 0; i < bytes; i++)
    if (state[i] != 0xff) return i;
  return std::nullopt;
}

}  // namespace vgpu
