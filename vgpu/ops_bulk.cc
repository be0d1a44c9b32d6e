// cp.async.bulk and cp.async.bulk.tensor (tile mode): copies of whole blocks and boxes between global and shared
// memory, which arrive at an mbarrier or belong to a bulk group. PTX ISA 9.0, 9.7.9.25.
#include <fmt/format.h>

#include "vgpu/access.h"
#include "vgpu/async.h"
#include "vgpu/decoder.h"
#include "vgpu/launch.h"
#include "vgpu/shadow.h"

namespace vgpu {
namespace {

// in.a shared address, in.b global address or tensor map, in.c bytes, in.e mbarrier, in.list coordinates.
enum BulkFlags : u16 { bulk_tensor = 1, bulk_to_shared = 2 };
enum WideAddresses : u8 { wide_shared = 1, wide_global = 2, wide_mbarrier = 4 };

u64 address_in(Warp& w, u32 reg, bool wide, int lane) {
  return wide ? w.lanes<u64>(reg)[lane] : w.lanes<u32>(reg)[lane];
}

void check_multiple(Warp& w, const Inst& in, int lane, u64 address, u32 unit, Space space) {
  if (address % unit)
    fault(w, in, lane, "misaligned access",
          fmt::format("a bulk copy at {}, which is no multiple of {}", describe_address(w, address, space), unit));
}

const TensorMap& tensor_map(Warp& w, const Inst& in, int lane, u64 address) {
  if (address % 64)
    fault(w, in, lane, "misaligned access", fmt::format("a tensor map at {:#x}, which is no multiple of 64", address));
  const u8* bytes = resolve(w, in, lane, address, sizeof(TensorMap), Space::generic);
  const TensorMap& map = *reinterpret_cast<const TensorMap*>(bytes);
  if (map.magic != TensorMap::made_here)
    fault(w, in, lane, "bulk copy", fmt::format("what lies at {:#x} is no map of cuTensorMapEncodeTiled", address));
  if (map.rank != in.list_size)
    fault(w, in, lane, "bulk copy",
          fmt::format("{} coordinates for a tensor map of {} dimensions", in.list_size, map.rank));
  return map;
}

void read_mbarrier(Warp& w, const Inst& in, int lane, BulkCopy& copy) {
  const u64 address = address_in(w, in.e, in.width & wide_mbarrier, lane);
  Block& block = *w.block;
  if (address % 8 || address + 8 > block.shared_bytes)
    fault(w, in, lane, address % 8 ? "misaligned access" : "out of bounds",
          fmt::format("an mbarrier at {}", describe_address(w, address, Space::shared)));
  const Mbarrier& b = block.async->mbarriers.at(w, in, lane, static_cast<u32>(address));
  copy.mbarrier = b.number;
  const bool fenced = b.init_fenced || b.init_clock < block.async->order(w).fenced[b.init_warp];
  const u32 init = inst_index(w, *b.init), here = inst_index(w, in);
  if (!block.race || fenced || block.launch->warned("async proxy", init, here)) return;
  block.launch->warn(
      "async proxy", init, here,
      fmt::format("vgpu: async proxy: a bulk copy arrives at an mbarrier whose init no fence.mbarrier_init or "
                  "fence.proxy.async follows\n  {}\n  here    {}\n  init    {}",
                  describe_launch(*block.launch), describe_place(w, block.linear, copy.thread(), here),
                  describe_place(w, block.linear, b.init_thread, init)));
}

void bulk_copy(Warp& w, const Inst& in, u32 m) {
  Block& block = *w.block;
  for (int l = 0; l < warp_size; l++) {
    if (!(m >> l & 1)) continue;
    BulkCopy copy;
    copy.warp = &w;
    copy.lane = l;
    copy.inst = &in;
    copy.tensor = in.sub & bulk_tensor;
    copy.to_shared = in.sub & bulk_to_shared;
    const u64 shared = address_in(w, in.a, in.width & wide_shared, l);
    const u64 global = address_in(w, in.b, true, l);
    if (copy.tensor) {
      copy.map = tensor_map(w, in, l, global);
      for (u32 i = 0; i < in.list_size; i++) copy.coordinates[i] = w.lanes<i32>(in.list[i])[l];
      copy.bytes = copy.map.bytes();
    } else {
      copy.global = global;
      copy.bytes = w.lanes<u32>(in.c)[l];
      check_multiple(w, in, l, global, 16, Space::global);
      if (copy.bytes == 0 || copy.bytes % 16)
        fault(w, in, l, "bulk copy", fmt::format("{} bytes, which is no positive multiple of 16", copy.bytes));
    }
    check_multiple(w, in, l, shared, copy.tensor ? 128 : 16, Space::shared);
    if (shared + copy.bytes > block.shared_bytes)
      fault(w, in, l, "out of bounds",
            fmt::format("a bulk copy of {} bytes at {}", copy.bytes, describe_address(w, shared, Space::shared)));
    copy.shared = static_cast<u32>(shared);
    if (copy.to_shared) read_mbarrier(w, in, l, copy);
    block.async->start(std::move(copy));
  }
}

void commit_group(Warp& w, const Inst&, u32 m) { w.block->async->commit_group(w, m); }

void wait_group(Warp& w, const Inst& in, u32 m) {
  w.block->async->wait_group(w, m, static_cast<u32>(in.offset), in.sub);
}

void nothing(Warp&, const Inst&, u32) {}

size_t take_dimensions(Decoder& d) {
  return static_cast<size_t>(d.require_one({"1d", "2d", "3d", "4d", "5d"})[0] - '0');
}

void plain_address(Decoder& d, const Operand& o, u32 Inst::*field, u8 wide) {
  d.inst.offset = 0;
  d.address(o, field);
  if (d.inst.offset) d.refuse("an offset in the address of a bulk copy");
  if (d.inst.wide_address) d.inst.width |= wide;
}

void map_address(Decoder& d, const Operand& o, size_t dimensions) {
  d.inst.offset = 0;
  d.tensor_address(o, &Inst::b, dimensions);
  if (d.inst.offset || !d.inst.wide_address) d.refuse("the address of a tensor map is a register of 64 bits");
}

void decode_prefetch(Decoder& d) {
  const bool tensor = d.take("tensor"), tiled = tensor;
  const size_t dimensions = tensor ? take_dimensions(d) : 0;
  if (tiled) d.take("tile");
  if (!d.take("L2") || !d.take("global")) d.refuse("a prefetch goes from global memory to L2");
  const size_t hints = d.take("L2::cache_hint") ? 1 : 0;
  d.inst.run = nothing;
  d.expect((tensor ? 1 : 2) + hints);
  if (tensor) {
    map_address(d, d.operand(0), dimensions);
  } else {
    plain_address(d, d.operand(0), &Inst::b, wide_global);
    d.source(&Inst::c, d.operand(1), Type::u32);
  }
}

}  // namespace

void decode_bulk(Decoder& d) {
  d.inst.async = true;
  if (d.take("commit_group")) {
    d.expect(0);
    d.inst.run = commit_group;
    return;
  }
  if (d.take("wait_group")) {
    d.inst.sub = d.take("read");
    d.expect(1);
    d.inst.offset = static_cast<i64>(d.immediate(d.operand(0)));
    d.inst.run = wait_group;
    return;
  }
  if (d.take("prefetch")) return decode_prefetch(d);
  const bool tensor = d.take("tensor");
  const size_t dimensions = tensor ? take_dimensions(d) : 0;
  if (tensor) d.take("tile");
  const bool to_shared = d.require_one({"mbarrier::complete_tx::bytes", "bulk_group"}) != "bulk_group";
  if (!d.take("global")) d.refuse("copies between blocks of a cluster are not supported");
  to_shared ? d.require_one({"shared::cluster", "shared::cta"}) : d.require_one({"shared::cta"});
  const size_t hints = d.take("L2::cache_hint") ? 1 : 0;
  // to shared: shared, global (bytes), mbarrier; to global: global, shared (bytes).
  d.expect((to_shared ? 3 : 2) + (tensor ? 0 : 1) + hints);
  d.inst.sub = static_cast<u16>((tensor ? bulk_tensor : 0) | (to_shared ? bulk_to_shared : 0));
  d.inst.run = bulk_copy;
  const Operand &shared = d.operand(to_shared ? 0 : 1), &global = d.operand(to_shared ? 1 : 0);
  if (tensor) {
    map_address(d, global, dimensions);
  } else {
    plain_address(d, global, &Inst::b, wide_global);
    if (!(d.inst.width & wide_global)) d.refuse("a global address has 64 bits");
    d.source(&Inst::c, d.operand(2), Type::u32);
  }
  plain_address(d, shared, &Inst::a, wide_shared);
  if (to_shared) plain_address(d, d.operand(tensor ? 2 : 3), &Inst::e, wide_mbarrier);
}

}  // namespace vgpu
