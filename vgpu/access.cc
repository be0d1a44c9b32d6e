#include "vgpu/access.h"

#include <algorithm>

#include <fmt/format.h>

#include "vgpu/launch.h"
#include "vgpu/region.h"
#include "vgpu/shadow.h"

namespace vgpu {
namespace {

struct Range {
  u64 lo, hi;
};

Range range_of(const Access& a) {
  u64 lo = a.address[0], hi = a.address[0];
  for (int l = 1; l < warp_size; l++) {
    lo = std::min(lo, a.address[l]);
    hi = std::max(hi, a.address[l]);
  }
  return {lo, hi};
}

bool is_contiguous(const Access& a) {
  if (a.mask != full_mask) return false;
  u64 differences = 0;
  for (int l = 0; l < warp_size; l++) differences |= a.address[l] ^ (a.address[0] + static_cast<u64>(l) * a.bytes);
  return differences == 0;
}

void check_alignment(const Warp& w, const Inst& in, const Access& a) {
  if (a.bytes == 1) return;
  const u64 low = std::min<u32>(a.bytes, 16) - 1;
  u64 any = 0;
  for (int l = 0; l < warp_size; l++) any |= a.address[l];
  if ((any & low) == 0) return;
  for (int l = 0; l < warp_size; l++)
    if (a.mask >> l & 1 && a.address[l] & low)
      fault(w, in, l, "misaligned access",
            fmt::format("{} bytes at {}, which is no multiple of {}", a.bytes,
                        describe_address(w, a.address[l], a.space), low + 1));
}

[[noreturn]] void out_of_bounds(const Warp& w, const Inst& in, int lane, u64 address, u32 bytes, Space space) {
  const Memory::Impl& memory = w.block->launch->memory->impl();
  if (space == Space::global || space == Space::constant) {
    if (const Memory::Impl::Freed* f = memory.find_freed(address))
      fault(w, in, lane, "use after free",
            fmt::format("{} bytes at {:#x}, offset {} of {}", bytes, address, address - f->lo, f->name),
            f->where.empty() ? "" : fmt::format("freed: {}", f->where));
  }
  fault(w, in, lane, "out of bounds", fmt::format("{} bytes at {}", bytes, describe_address(w, address, space)));
}

void check_global_written(const Warp& w, const Inst& in, const Access& a, const Region& region) {
  const u8* state = region.written - region.lo;
  if (a.contiguous) {
    u8 all = 0xff;
    const u8* p = state + a.address[0];
    for (u32 i = 0; i < warp_size * a.bytes; i++) all &= p[i];
    if (all == 0xff) return;
  }
  for (int l = 0; l < warp_size; l++) {
    if (!(a.mask >> l & 1)) continue;
    for (u32 i = 0; i < a.bytes; i++)
      if (state[a.address[l] + i] != 0xff)
        fault(w, in, l, "uninitialised read",
              fmt::format("{} bytes of global memory at {}; byte {} of them was never written", a.bytes,
                          describe_address(w, a.address[l], Space::global), i));
  }
}

void mark_global_written(const Access& a, Region& region) {
  u8* state = region.written - region.lo;
  if (a.contiguous) {
    std::memset(state + a.address[0], 0xff, warp_size * a.bytes);
    return;
  }
  for (int l = 0; l < warp_size; l++)
    if (a.mask >> l & 1) std::memset(state + a.address[l], 0xff, a.bytes);
}

void mark_footprint(Block& block, const Access& a, Region& region, AccessKind kind) {
  std::call_once(region.footprint_made, [&] {
    const u64 pages = ((region.hi - region.lo + 31) >> Footprint::page_shift) + 2;
    region.footprint_storage = LazyBytes(pages * sizeof(Footprint));
    region.footprints = reinterpret_cast<Footprint*>(region.footprint_storage.data());
  });
  const u64 origin = region.lo & ~u64{31};
  const auto mark = [&](u64 sector) {
    Footprint& f = region.footprints[sector >> 11];
    if (!f.touched.load(std::memory_order_relaxed) && !f.touched.exchange(true)) block.footprints.push_back(&f);
    const u64 bit = u64{1} << (sector & 63);
    const auto set = [&](std::atomic<u64>& word) {
      if (!(word.load(std::memory_order_relaxed) & bit)) word.fetch_or(bit, std::memory_order_relaxed);
    };
    if (kind != AccessKind::write) set(f.read[sector >> 6 & 31]);
    if (kind != AccessKind::read) set(f.written[sector >> 6 & 31]);
  };
  u64 last = ~u64{0};
  for (int l = 0; l < warp_size; l++) {
    if (!(a.mask >> l & 1)) continue;
    for (u64 s = (a.address[l] - origin) >> 5; s <= (a.address[l] + a.bytes - 1 - origin) >> 5; s++)
      if (s != last) mark(last = s);
  }
}

// The allocation that holds the bytes; null where several do, or none. Kernels go back and forth between a few: each
// core remembers those of its launch, and asks the map, which all cores share, for new ones only.
Region* find_region(Block& block, u64 address, u64 bytes) {
  const auto holds = [&](const Region* r) { return r && address >= r->lo && address + bytes <= r->hi; };
  if (holds(block.region)) return block.region;
  static thread_local struct {
    u64 launch = 0;
    u32 next = 0;
    Region* regions[8];
  } recent;
  if (recent.launch != block.launch->id) recent = {block.launch->id, 0, {}};
  for (Region* r : recent.regions)
    if (holds(r)) return block.region = r;
  Region* r = block.launch->memory->impl().find(address, bytes);
  if (r) recent.regions[recent.next++ % 8] = block.region = r;
  return r;
}

u8* prepare_global(Warp& w, const Inst& in, Access& a, AccessKind kind, Range r) {
  Block& block = *w.block;
  Region* region = find_region(block, r.lo, r.hi - r.lo + a.bytes);
  if (!region) {  // several allocations, or a fault: lane by lane
    for (int l = 0; l < warp_size; l++)
      if (a.mask >> l & 1 && !block.launch->memory->impl().find(a.address[l], a.bytes))
        out_of_bounds(w, in, l, a.address[l], a.bytes, a.space);
    for (u32 left = a.mask; left;) {
      const int first = first_lane(left);
      Region* one = block.launch->memory->impl().find(a.address[first], a.bytes);
      Access part = a;
      part.contiguous = false;
      part.mask = 0;
      for (int l = 0; l < warp_size; l++)
        if (left >> l & 1 && a.address[l] >= one->lo && a.address[l] + a.bytes <= one->hi) part.mask |= 1u << l;
      left &= ~part.mask;
      for (int l = 0; l < warp_size; l++)
        if (!(part.mask >> l & 1)) part.address[l] = a.address[first];
      block.region = one;
      prepare_global(w, in, part, kind, range_of(part));
    }
    return nullptr;
  }
  check_alignment(w, in, a);
  if ((kind == AccessKind::atomic || in.strong) && block.program->ordered) wait_for_earlier_blocks(block);
  if (block.race && block.program->fences && (kind == AccessKind::atomic || in.strong))
    for (int l = 0; l < warp_size; l++)
      if (a.mask >> l & 1) block.launch->hand_over(block, a.address[l]);
  if (region->written) {
    if (block.uninit && kind != AccessKind::write) check_global_written(w, in, a, *region);
    if (kind != AccessKind::read) mark_global_written(a, *region);
  }
  if (block.race && a.space != Space::constant) {
    std::call_once(region->shadow_made,
                   [&] { region->shadow = std::make_unique<GlobalShadow>(region->hi - region->lo); });
    region->shadow->check(w, in, a, kind, region->lo);
  }
  if (block.counts) {
    Counts& c = block.counts[inst_index(w, in)];
    count_global(c, a.address, a.mask, a.bytes, a.contiguous);
    if (kind == AccessKind::atomic) c.atomics += static_cast<u64>(std::popcount(a.mask));
    mark_footprint(block, a, *region, kind);
  }
  return nullptr;
}

u8* prepare_shared(Warp& w, const Inst& in, Access& a, AccessKind kind, Range r) {
  Block& block = *w.block;
  if (r.hi + a.bytes > block.shared_bytes)
    for (int l = 0; l < warp_size; l++)
      if (a.mask >> l & 1 && a.address[l] + a.bytes > block.shared_bytes)
        out_of_bounds(w, in, l, a.address[l], a.bytes, Space::shared);
  check_alignment(w, in, a);
  if (block.shadow) block.shadow->check(w, in, a, kind);
  if (block.counts) {
    Counts& c = block.counts[inst_index(w, in)];
    count_shared(c, a.address, a.mask, a.bytes);
    if (kind == AccessKind::atomic) c.atomics += static_cast<u64>(std::popcount(a.mask));
  }
  return block.shared;
}

u8* prepare_local(Warp& w, const Inst& in, Access& a, Range r) {
  Block& block = *w.block;
  const u32 size = block.program->local_bytes;
  if (r.hi + a.bytes > size)
    for (int l = 0; l < warp_size; l++)
      if (a.mask >> l & 1 && a.address[l] + a.bytes > size)
        out_of_bounds(w, in, l, a.address[l], a.bytes, Space::local);
  check_alignment(w, in, a);
  if (block.counts) block.counts[inst_index(w, in)].local_bytes += static_cast<u64>(std::popcount(a.mask)) * a.bytes;
  for (int l = 0; l < warp_size; l++) a.address[l] += static_cast<u64>(l) * block.local_stride;
  a.contiguous = false;
  return w.local;
}

}  // namespace

void gather_addresses(const Warp& w, const Inst& in, u32 reg, u32 mask, Access& a) {
  const u64 offset = static_cast<u64>(in.offset);
  if (in.wide_address) {
    const u64* r = w.lanes<u64>(reg);
    for (int l = 0; l < warp_size; l++) a.address[l] = r[l] + offset;
  } else {
    const u32* r = w.lanes<u32>(reg);
    for (int l = 0; l < warp_size; l++) a.address[l] = static_cast<u32>(r[l] + static_cast<u32>(offset));
  }
  a.mask = mask;
  a.space = in.space;
  if (mask != full_mask) {
    const u64 first = a.address[first_lane(mask)];
    for (int l = 0; l < warp_size; l++) a.address[l] = mask >> l & 1 ? a.address[l] : first;
  }
}

u32 split_by_space(const Inst& in, Access& a) {
  if (in.space != Space::generic) return a.mask;
  const auto space_of = [](u64 address) {
    const u64 high = address & ~window_offset;
    return high == shared_window  ? Space::shared
           : high == local_window ? Space::local
           : high == param_window ? Space::param
                                  : Space::global;
  };
  const Space first = space_of(a.address[first_lane(a.mask)]);
  u32 same = 0;
  for (int l = 0; l < warp_size; l++)
    if (a.mask >> l & 1 && space_of(a.address[l]) == first) same |= 1u << l;
  a.space = first;
  if (same != a.mask) {
    a.mask = same;
    const u64 address = a.address[first_lane(same)];
    for (int l = 0; l < warp_size; l++)
      if (!(same >> l & 1)) a.address[l] = address;
  }
  if (first != Space::global)
    for (u64& address : a.address) address &= window_offset;
  return same;
}

u8* prepare(Warp& w, const Inst& in, Access& a, AccessKind kind) {
  a.contiguous = is_contiguous(a);
  const Range r = range_of(a);
  switch (a.space) {
    case Space::generic:
    case Space::global:
    case Space::constant: return prepare_global(w, in, a, kind, r);
    case Space::shared: return prepare_shared(w, in, a, kind, r);
    case Space::local: return prepare_local(w, in, a, r);
    case Space::param: break;
  }
  if (r.hi + a.bytes > w.block->parameter_bytes || kind != AccessKind::read)
    fault(
        w, in, first_lane(a.mask), "out of bounds",
        fmt::format("{} bytes at offset {} of {} bytes of kernel parameters", a.bytes, r.hi, w.block->parameter_bytes));
  check_alignment(w, in, a);
  return const_cast<u8*>(w.block->parameters);
}

void touch_global(Warp& w, const Inst& in, int lane, u64 address, u32 bytes, AccessKind kind) {
  Block& block = *w.block;
  Region* region = find_region(block, address, bytes);
  if (!region) out_of_bounds(w, in, lane, address, bytes, Space::global);
  Access a;
  a.mask = 1u << lane;
  a.space = Space::global;
  a.bytes = bytes;
  std::fill(std::begin(a.address), std::end(a.address), address);
  if (region->written) {
    if (block.uninit && kind == AccessKind::read) check_global_written(w, in, a, *region);
    if (kind == AccessKind::write) mark_global_written(a, *region);
  }
  if (block.counts) {
    Counts& c = block.counts[inst_index(w, in)];
    c.global_requests++;
    c.global_bytes += bytes;
    c.global_sectors += (address + bytes - 1) / 32 - address / 32 + 1;
    c.global_sectors_min += (bytes + 31) / 32;
    mark_footprint(block, a, *region, kind);
  }
  if (!block.race) return;
  std::call_once(region->shadow_made,
                 [&] { region->shadow = std::make_unique<GlobalShadow>(region->hi - region->lo); });
  for (u32 done = 0; done < bytes; done += a.bytes) {  // cells are of 4 bytes where nothing smaller is touched
    const u64 at = address + done, left = bytes - done;
    a.bytes = static_cast<u32>(at % 2 || left < 2 ? 1 : at % 4 || left < 4 ? 2 : left / 4 * 4);
    std::fill(std::begin(a.address), std::end(a.address), at);
    region->shadow->check(w, in, a, kind, region->lo);
  }
}

u8* resolve(Warp& w, const Inst& in, int lane, u64 address, u32 bytes, Space space) {
  if (space == Space::generic) {
    const u64 high = address & ~window_offset;
    space = high == shared_window  ? Space::shared
            : high == local_window ? Space::local
            : high == param_window ? Space::param
                                   : Space::global;
    if (space != Space::global) address &= window_offset;
  }
  Block& block = *w.block;
  if (space == Space::shared && address + bytes <= block.shared_bytes) return block.shared + address;
  if (space == Space::param && address + bytes <= block.parameter_bytes)
    return const_cast<u8*>(block.parameters) + address;
  if (space == Space::local && address + bytes <= block.program->local_bytes)
    return w.local + static_cast<u64>(lane) * block.local_stride + address;
  if (space == Space::global && block.launch->memory->impl().find(address, bytes))
    return reinterpret_cast<u8*>(address);
  out_of_bounds(w, in, lane, address, bytes, space);
}

// One phase of the lanes [from, to) of a shared request: the fullest bank's number of distinct words.
static u32 wavefronts(const u64* address, u32 mask, u32 bytes, int from, int to) {
  u64 lo = ~u64{0}, hi = 0;
  for (int l = from; l < to; l++) {
    if (!(mask >> l & 1)) continue;
    lo = std::min(lo, address[l] & ~u64{3});
    hi = std::max(hi, address[l] + bytes);
  }
  if (lo == ~u64{0}) return 0;
  if (hi - lo <= 128) return 1;  // 32 words in a row are in different banks
  u32 words[32][32];
  u32 used[32] = {}, most = 0;
  for (int l = from; l < to; l++) {
    if (!(mask >> l & 1)) continue;
    for (u64 a = address[l] & ~u64{3}; a < address[l] + bytes; a += 4) {
      const u32 word = static_cast<u32>(a >> 2), bank = word & 31;
      u32 i = 0;
      while (i < used[bank] && words[bank][i] != word) i++;
      if (i < used[bank]) continue;
      words[bank][used[bank]++] = word;
      most = std::max(most, used[bank]);
    }
  }
  return most;
}

void count_shared(Counts& c, const u64* address, u32 mask, u32 bytes) {
  c.shared_requests++;
  c.shared_bytes += static_cast<u64>(std::popcount(mask)) * bytes;
  // 8-byte lanes go in two halves, 16-byte lanes in four quarters.
  const int step = bytes >= 16 ? 8 : bytes == 8 ? 16 : 32;
  for (int from = 0; from < warp_size; from += step) {
    const u32 n = wavefronts(address, mask, bytes, from, from + step);
    c.shared_wavefronts += n;
    c.shared_wavefronts_min += n != 0;
  }
}

void count_global(Counts& c, const u64* address, u32 mask, u32 bytes, bool contiguous) {
  c.global_requests++;
  const u64 total = static_cast<u64>(std::popcount(mask)) * bytes;
  c.global_bytes += total;
  if (contiguous) {
    c.global_sectors += (address[0] + total - 1) / 32 - address[0] / 32 + 1;
    c.global_sectors_min += (total + 31) / 32;
    return;
  }
  u64 sectors[warp_size * 3];
  u32 n = 0;
  u64 starts[warp_size];
  u32 m = 0;
  for (int l = 0; l < warp_size; l++) {
    if (!(mask >> l & 1)) continue;
    starts[m++] = address[l];
    for (u64 s = address[l] / 32; s <= (address[l] + bytes - 1) / 32; s++)
      if (n == 0 || sectors[n - 1] != s) sectors[n++] = s;
  }
  std::sort(sectors, sectors + n);
  std::sort(starts, starts + m);
  c.global_sectors += static_cast<u64>(std::unique(sectors, sectors + n) - sectors);
  const u64 distinct = static_cast<u64>(std::unique(starts, starts + m) - starts);
  c.global_sectors_min += (distinct * bytes + 31) / 32;
}

std::string describe_address(const Warp& w, u64 address, Space space) {
  if (space == Space::shared)
    return fmt::format("shared memory + {} (the block has {} bytes)", address, w.block->shared_bytes);
  if (space == Space::local)
    return fmt::format("local memory + {} (a thread has {} bytes)", address, w.block->program->local_bytes);
  if (space == Space::param) return fmt::format("kernel parameters + {}", address);
  const Memory::Impl& memory = w.block->launch->memory->impl();
  if (const Region* r = memory.find(address, 1))
    return fmt::format("{:#x} = {} + {}", address, r->name, address - r->lo);
  const Region* r = memory.nearest(address);
  if (!r) return fmt::format("{:#x}; nothing is allocated", address);
  if (address >= r->hi) return fmt::format("{:#x}, {} bytes past the end of {}", address, address - r->hi, r->name);
  return fmt::format("{:#x}, {} bytes before {}", address, r->lo - address, r->name);
}

}  // namespace vgpu
