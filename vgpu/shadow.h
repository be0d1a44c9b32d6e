// Who read and wrote each piece of memory last, in this launch; finds accesses that nothing orders. Two accesses are
// ordered if one thread made both, or if a chain of barriers (or __syncwarp) of the block lies between; blocks of a
// launch are never ordered.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <unordered_map>
#include <vector>

#include "vgpu/access.h"

namespace vgpu {

// One access, or several that count as one, in 64 bits: who (thread of its block), when (the warp's clock, and shuffles
// since), which instruction.
struct Record {
  u64 bits = 0;
  enum Spread : u64 { one_thread, one_warp, several_warps, several_blocks };
  static constexpr Spread bulk = several_blocks;  // of shared memory: written by a bulk copy

  static constexpr u64 valid_bit = u64{1} << 63, atomic_bit = u64{1} << 62;
  static Record make(u32 thread, u32 clock, u32 step, u32 inst, bool atomic) {
    return {valid_bit | (atomic ? atomic_bit : 0) | u64{thread & 1023} << 50 | u64{clock & 0xffffff} << 26 |
            u64{step < 1023 ? step : 1023} << 16 | u64{inst < 0xffff ? inst : 0xffff}};
  }
  // Accesses of several warps: their clocks are in set `set` of the block.
  static Record make_set(u32 set, u32 inst, bool atomic) {
    return {valid_bit | (atomic ? atomic_bit : 0) | u64{several_warps} << 60 | u64{set} << 16 |
            u64{inst < 0xffff ? inst : 0xffff}};
  }
  // A bulk copy's write, which ended in phase `phase` of mbarrier `mbarrier`.
  static Record make_bulk(u32 mbarrier, u32 phase, u32 inst) {
    return make(mbarrier, phase, 0, inst, false).with(bulk);
  }
  bool valid() const { return bits >> 63; }
  bool atomic() const { return bits >> 62 & 1; }
  Spread spread() const { return static_cast<Spread>(bits >> 60 & 3); }
  Record with(Spread s) const { return {(bits & ~(u64{3} << 60)) | u64{s} << 60}; }
  u32 thread() const { return bits >> 50 & 1023; }
  u32 warp() const { return thread() >> 5; }
  u32 clock() const { return bits >> 26 & 0xffffff; }
  u32 step() const { return bits >> 16 & 1023; }
  u32 set() const { return static_cast<u32>(bits >> 16); }
  u32 inst() const { return bits & 0xffff; }
};

// Sets of warps with the clock of each one's access, shared by all cells that have the same.
class WarpSets {
 public:
  using Clocks = std::array<u32, 32>;  // 0: not in the set
  void clear();
  u32 intern(const Clocks& clocks);
  const Clocks& operator[](u32 set) const { return sets_[set]; }
  // The set with this warp's access added and what is ordered before it left out.
  u32 add(u32 set, const Warp& w);
  bool ordered(u32 set, const Warp& w);          // every access of the set is before what w does now
  u32 pair(u32 warp, u32 clock, const Warp& w);  // an access of another warp and one of w

 private:
  struct Memo {
    u64 key = ~u64{0};
    u32 value = 0;
  };
  std::vector<Clocks> sets_;
  std::unordered_map<u64, std::vector<u32>> by_hash_;
  static constexpr size_t memos = 256;
  static size_t memo_of(u64 key) { return key * 0x9e3779b97f4a7c15ull >> 56; }
  Memo added_[memos], ordered_[memos], pairs_[memos];
};

struct Cell {
  Record write, read;
};

// What the checks of one instruction need: made once, used for each lane and cell.
class RaceCheck {
 public:
  RaceCheck(Warp& w, const Inst& in, const Access& a, AccessKind kind);
  // The cell lies in the same block's accesses.
  void access(Cell& c, int lane, u64 address);
  // Conflict of this lane with a record of block `other_block`: a report, or a warning if it is of a harmless class.
  void conflict(Record other, u64 other_block, bool other_writes, int lane, u64 address);
  // A read that is known to conflict with nothing.
  void add_read(Cell& c, Record mine, int lane) {
    if (c.read.bits != mine.bits) c.read = joined(c.read, lane);
  }
  Record mine(int lane) const { return {base_.bits | static_cast<u64>(lane) << 50}; }
  AccessKind kind() const { return kind_; }

 private:
  bool ordered(Record r, u32 thread) const;
  bool ordered_set(Record r) const;
  [[noreturn]] void bulk_conflict(Record bulk, int lane, u64 address);
  Record joined(Record old, int lane);
  bool same_value(Record other, u64 other_block, int lane, u64 address);

  Warp& w_;
  const Inst& in_;
  const Access& a_;
  AccessKind kind_;
  u32 first_thread_;
  Record base_;
  std::vector<u8> values_;  // what is to be written; filled at the first conflict
};

// Shared memory of one block: races, and which bytes were written (or are being written by a cp.async).
class SharedShadow {
 public:
  // Of each byte. in_flight: a cp.async writes it; bulk_flight: a bulk copy does; mbarrier: it belongs to one.
  static constexpr u8 unwritten = 0, in_flight = 1, bulk_flight = 2, mbarrier = 3, written = 0xff;
  explicit SharedShadow(u32 bytes) : state_(bytes + 32), bytes_(bytes) {}
  void reset(bool race);
  void check(Warp& w, const Inst& in, const Access& a, AccessKind kind);
  // cp.async: between these the bytes are neither old nor new. Both are writes by the lane.
  void begin_copy(Warp& w, const Inst& in, const Access& a);
  void end_copy(Warp& w, const Inst& in, const Access& a);
  // Bulk copies and wgmma: the warp starts to let the async proxy read or write these bytes; then it is done. What
  // comes before must be ordered, and fenced where it was an ordinary store. Reads count as the warp's once they are
  // done; writes end in a phase of an mbarrier.
  void begin_async_read(Warp& w, const Inst& in, int lane, u32 address, u32 bytes);
  void end_async_read(Warp& w, const Inst& in, int lane, u32 address, u32 bytes);
  void begin_async_write(Warp& w, const Inst& in, int lane, u32 address, u32 bytes);
  void end_async_write(Warp& w, const Inst& in, u32 address, u32 bytes, u32 mbarrier, u64 phase);
  // The 8 bytes become an mbarrier's, or no longer are.
  void set_mbarrier(Warp& w, const Inst& in, int lane, u32 address, bool valid);

 private:
  std::vector<u8> state_;
  std::vector<u16> readers_;  // reads of the async proxy under way, of each 16 bytes
  u32 reading_ = 0;           // their sum
  std::vector<Cell> cells_;
  bool copies_ = false;  // a cp.async was seen
  int shift_ = 2;        // bytes a cell, as a power of two; finer as soon as smaller accesses are seen
  u32 bytes_ = 0;
  void refine(int shift);
  void check_races(Warp& w, const Inst& in, const Access& a, AccessKind kind);
  void check_state(Warp& w, const Inst& in, const Access& a, bool reads) const;
  void check_readers(Warp& w, const Inst& in, int lane, u64 address, u32 bytes) const;
  void check_async_state(Warp& w, const Inst& in, int lane, u32 address, u32 bytes, bool reads) const;
  void check_async_order(Warp& w, const Inst& in, int lane, u32 address, u32 bytes, bool reads);
};

// Global memory of one allocation: pages of cells, made when touched and cleared at the first touch of a launch.
class GlobalShadow {
 public:
  explicit GlobalShadow(u64 bytes);
  ~GlobalShadow();
  // `base` is the allocation's address; the access holds global addresses.
  void check(Warp& w, const Inst& in, const Access& a, AccessKind kind, u64 base);

 private:
  struct Page;
  static constexpr int page_shift = 12;
  std::vector<std::atomic<Page*>> pages_;
  Page& page(u64 index);
  bool only_read_before(const Access& a, u64 base, u64 serial) const;
  void check_lane(RaceCheck& check, Page& page, u32 from, u32 to, int lane, u64 address, const Block& block);
};

}  // namespace vgpu
