// cp.async: copies from global to shared memory that happen when their group is waited for, so that a wrong wait_group
// shows.
#include <algorithm>

#include <fmt/format.h>

#include "vgpu/access.h"
#include "vgpu/async.h"
#include "vgpu/decoder.h"
#include "vgpu/shadow.h"

namespace vgpu {
namespace {

// in.a shared address, in.b global address, in.c how many bytes are read (the rest is zero), in.bytes the size.
void copy_async(Warp& w, const Inst& in, u32 m) {
  Block& block = *w.block;
  AsyncCopy copy;
  copy.mask = m;
  copy.bytes = in.bytes;
  copy.inst = &in;
  const u32* sizes = in.sub ? w.lanes<u32>(in.c) : nullptr;
  u32 reading = 0;
  for (int l = 0; l < warp_size; l++) {
    copy.group[l] = AsyncCopy::open;
    copy.from_bytes[l] = in.bytes;
    if (!(m >> l & 1)) continue;
    if (sizes && sizes[l] > in.bytes)
      fault(w, in, l, "cp.async", fmt::format("{} of {} bytes are to be read", sizes[l], in.bytes));
    if (sizes) copy.from_bytes[l] = static_cast<u8>(sizes[l]);
    if (copy.from_bytes[l]) reading |= 1u << l;
  }
  // Lanes that read fewer bytes are checked apart.
  Access from;
  for (u32 left = reading; left;) {
    const u8 bytes = copy.from_bytes[first_lane(left)];
    u32 same = 0;
    for (int l = 0; l < warp_size; l++)
      if (left >> l & 1 && copy.from_bytes[l] == bytes) same |= 1u << l;
    left &= ~same;
    Inst global = in;
    global.wide_address = 1;
    global.offset = in.offset >> 32;
    gather_addresses(w, global, in.b, same, from);
    from.space = Space::global;
    from.bytes = bytes;
    each_lane(same, [&](int l) { copy.from[l] = from.address[l]; });
    for (int l = 0; l < warp_size; l++)
      if (same >> l & 1 && copy.from[l] % in.bytes)
        fault(w, in, l, "misaligned access",
              fmt::format("{} bytes of cp.async at {}", in.bytes, describe_address(w, copy.from[l], Space::global)));
    prepare(w, in, from, AccessKind::read);
  }
  Access to;
  Inst shared = in;
  shared.offset = static_cast<i32>(in.offset);
  gather_addresses(w, shared, in.a, m, to);
  to.space = Space::shared;
  to.bytes = in.bytes;
  for (int l = 0; l < warp_size; l++) {
    copy.to[l] = to.address[l];
    if (!(m >> l & 1)) continue;
    if (to.address[l] + in.bytes > block.shared_bytes)
      fault(w, in, l, "out of bounds",
            fmt::format("{} bytes at {}", in.bytes, describe_address(w, to.address[l], Space::shared)));
    if (to.address[l] % in.bytes)
      fault(w, in, l, "misaligned access",
            fmt::format("{} bytes at {}", in.bytes, describe_address(w, to.address[l], Space::shared)));
  }
  if (block.shadow) block.shadow->begin_copy(w, in, to);
  if (block.counts) count_shared(block.counts[inst_index(w, in)], to.address, m, in.bytes);
  copy.serial = w.copies_started++;
  w.copies.push_back(copy);
}

// Copies of the lanes `done` of one cp.async take place.
void finish_copy(Warp& w, const AsyncCopy& copy, u32 done) {
  Block& block = *w.block;
  for (int l = 0; l < warp_size; l++) {
    if (!(done >> l & 1)) continue;
    u8* to = block.shared + copy.to[l];
    std::memset(to, 0, copy.bytes);
    if (copy.from_bytes[l]) std::memcpy(to, reinterpret_cast<const u8*>(copy.from[l]), copy.from_bytes[l]);
  }
  if (!block.shadow) return;
  Access a;
  a.mask = done;
  a.bytes = copy.bytes;
  a.space = Space::shared;
  std::copy(copy.to, copy.to + warp_size, a.address);
  block.shadow->end_copy(w, *copy.inst, a);
}

void commit_group(Warp& w, const Inst&, u32 m) {
  for (AsyncCopy& c : w.copies)
    for (int l = 0; l < warp_size; l++)
      if ((c.mask & m) >> l & 1 && c.group[l] == AsyncCopy::open) c.group[l] = w.committed[l];
  each_lane(m, [&](int l) { w.committed[l]++; });
}

// All but the latest in.offset groups of each lane are finished; wait_all (sub 1) takes open ones too.
void wait_group(Warp& w, const Inst& in, u32 m) {
  const i64 keep = in.offset;
  for (AsyncCopy& c : w.copies) {
    u32 done = 0;
    for (int l = 0; l < warp_size; l++) {
      if (!((c.mask & m) >> l & 1)) continue;
      const bool open = c.group[l] == AsyncCopy::open;
      if (in.sub || (!open && static_cast<i64>(c.group[l]) < static_cast<i64>(w.committed[l]) - keep)) done |= 1u << l;
    }
    if (done) finish_copy(w, c, done);
    c.mask &= ~done;
  }
  std::erase_if(w.copies, [](const AsyncCopy& c) { return c.mask == 0; });
}

void decode_cp(Decoder& d) {
  if (!d.take("async")) d.refuse("cp.async is expected");
  if (d.take("bulk")) return decode_bulk(d);
  if (d.take("mbarrier")) return decode_mbarrier_after_copies(d);
  if (d.take("commit_group")) {
    d.expect(0);
    d.inst.run = commit_group;
    return;
  }
  if (d.take("wait_group")) {
    d.expect(1);
    d.inst.offset = static_cast<i64>(d.immediate(d.operand(0)));
    d.inst.run = wait_group;
    return;
  }
  if (d.take("wait_all")) {
    d.expect(0);
    d.inst.sub = 1;
    d.inst.run = wait_group;
    return;
  }
  const std::string_view cache = d.require_one({"ca", "cg"});
  d.require_one({"shared", "shared::cta"});
  d.require_one({"global"});
  const bool policy = d.take("L2::cache_hint");
  d.take_one({"L2::64B", "L2::128B", "L2::256B"});
  const size_t hints = policy ? 1 : 0;
  d.expect(3 + hints, 4 + hints);
  d.inst.run = copy_async;
  const u64 bytes = d.immediate(d.operand(2));
  if (bytes != 16 && (cache == "cg" || (bytes != 4 && bytes != 8)))
    d.refuse("cp.async copies 4, 8 or 16 bytes, with cg 16");
  d.inst.bytes = static_cast<u8>(bytes);
  d.address(d.operand(1), &Inst::b);
  if (!d.inst.wide_address) d.refuse("a global address has 64 bits");
  const i64 global_offset = d.inst.offset;
  d.inst.offset = 0;
  d.address(d.operand(0), &Inst::a);
  if (global_offset != static_cast<i32>(global_offset) || d.inst.offset != static_cast<i32>(d.inst.offset))
    d.refuse("the offset is too large");
  d.inst.offset = static_cast<i64>(static_cast<u64>(global_offset) << 32 | static_cast<u32>(d.inst.offset));
  if (d.size() == 4 + hints) {
    d.inst.sub = 1;
    d.source(&Inst::c, d.operand(3), Type::u32);
  }
}

}  // namespace

void finish_copies(Warp& w, u32 lanes, u64 serial) {
  for (AsyncCopy& c : w.copies) {
    if (c.serial >= serial || !(c.mask & lanes)) continue;
    finish_copy(w, c, c.mask & lanes);
    c.mask &= ~lanes;
  }
  std::erase_if(w.copies, [](const AsyncCopy& c) { return c.mask == 0; });
}

const OpcodeList async_opcodes = {{"cp", decode_cp}};

}  // namespace vgpu
