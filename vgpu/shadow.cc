#include "vgpu/shadow.h"

#include <algorithm>
#include <mutex>
#include <thread>

#include <fmt/format.h>

#include "vgpu/async.h"
#include "vgpu/launch.h"

namespace vgpu {

void WarpSets::clear() {
  sets_.clear();
  by_hash_.clear();
  for (Memo& m : added_) m = {};
  for (Memo& m : ordered_) m = {};
  for (Memo& m : pairs_) m = {};
}

u32 WarpSets::intern(const Clocks& clocks) {
  u64 hash = 0;
  for (const u32 c : clocks) hash = (hash ^ c) * 0x9e3779b97f4a7c15ull;
  std::vector<u32>& same_hash = by_hash_[hash];
  for (const u32 s : same_hash)
    if (sets_[s] == clocks) return s;
  same_hash.push_back(static_cast<u32>(sets_.size()));
  sets_.push_back(clocks);
  return same_hash.back();
}

u32 WarpSets::add(u32 set, const Warp& w) {
  if (sets_[set][w.index] == w.clock) return set;
  const u64 key = u64{set} << 32 | u64{w.index} << 26 | (w.clock & 0x3ffffff);
  Memo& memo = added_[memo_of(key)];
  if (memo.key == key) return memo.value;
  Clocks next = sets_[set];
  for (u32 v = 0; v < 32; v++)
    if (next[v] && next[v] < w.seen[v]) next[v] = 0;
  next[w.index] = w.clock;
  memo = {key, intern(next)};
  return memo.value;
}

bool WarpSets::ordered(u32 set, const Warp& w) {
  const u64 key = u64{set} << 32 | u64{w.index} << 26 | (w.clock & 0x3ffffff);
  Memo& memo = ordered_[memo_of(key)];
  if (memo.key != key) {
    bool all = true;
    for (u32 v = 0; v < 32; v++) all = all && (!sets_[set][v] || sets_[set][v] < w.seen[v]);
    memo = {key, all};
  }
  return memo.value;
}

u32 WarpSets::pair(u32 warp, u32 clock, const Warp& w) {
  const u64 key = u64{clock & 0xffffff} << 40 | u64{warp} << 32 | u64{w.index} << 24 | (w.clock & 0xffffff);
  Memo& memo = pairs_[memo_of(key)];
  if (memo.key == key) return memo.value;
  Clocks clocks{};
  clocks[warp] = clock;
  clocks[w.index] = w.clock;
  memo = {key, intern(clocks)};
  return memo.value;
}

// The warp has seen the phase end in which a bulk copy wrote.
static bool phase_seen(Warp& w, Record bulk) {
  const std::vector<u32>& phases = w.block->async->order(w).phases;
  return bulk.thread() < phases.size() && bulk.clock() < phases[bulk.thread()];
}

RaceCheck::RaceCheck(Warp& w, const Inst& in, const Access& a, AccessKind kind)
    : w_(w),
      in_(in),
      a_(a),
      kind_(kind),
      first_thread_(w.index * warp_size),
      base_(Record::make(first_thread_, w.clock, w.step, inst_index(w, in), kind == AccessKind::atomic || in.strong)) {}

bool RaceCheck::ordered_set(Record r) const {
  return r.spread() == Record::bulk ? phase_seen(w_, r) : w_.block->sets->ordered(r.set(), w_);
}

bool RaceCheck::ordered(Record r, u32 thread) const {
  if (r.spread() >= Record::several_warps) return ordered_set(r);
  return r.clock() < w_.seen[r.warp()] || (r.spread() == Record::one_thread && r.thread() == thread);
}

// The record for accesses of a kind that do not conflict with each other: reads, or atomics.
Record RaceCheck::joined(Record old, int lane) {
  const Record me = mine(lane);
  if (!old.valid()) return me;
  const bool atomic = me.atomic();
  if (old.spread() == Record::several_warps)
    return Record::make_set(w_.block->sets->add(old.set(), w_), me.inst(), atomic);
  if (old.clock() < w_.seen[old.warp()] || old.thread() == me.thread())
    return old.spread() == Record::one_warp && old.clock() == w_.clock ? me.with(Record::one_warp) : me;
  if (old.warp() == w_.index) return me.with(Record::one_warp);
  return Record::make_set(w_.block->sets->pair(old.warp(), old.clock(), w_), me.inst(), atomic);
}

void RaceCheck::access(Cell& c, int lane, u64 address) {
  const Record me = mine(lane);
  const bool strong = me.atomic();
  if (kind_ == AccessKind::read) {
    if (c.write.valid() && !(strong && c.write.atomic()) && !ordered(c.write, me.thread()))
      conflict(c.write, w_.block->linear, true, lane, address);
    c.read = joined(c.read, lane);
    return;
  }
  if (c.write.valid() && !(strong && c.write.atomic()) && !ordered(c.write, me.thread()))
    conflict(c.write, w_.block->linear, true, lane, address);
  if (c.read.valid() && !(strong && c.read.atomic()) && !ordered(c.read, me.thread()))
    conflict(c.read, w_.block->linear, false, lane, address);
  c.write = strong && c.write.valid() && c.write.atomic() ? joined(c.write, lane) : me;
  c.read = {};
}

bool RaceCheck::same_value(Record other, u64 other_block, int lane, u64 address) {
  if (kind_ != AccessKind::write) return false;
  if (values_.empty()) {
    values_.resize(warp_size * a_.bytes);
    if (a_.values) {
      std::memcpy(values_.data(), a_.values, values_.size());
    } else if (in_.move) {
      Access copy = a_;
      copy.contiguous = false;
      for (int l = 0; l < warp_size; l++) copy.address[l] = static_cast<u64>(l) * a_.bytes;
      in_.move(w_, in_, values_.data(), copy);
    } else {
      return false;
    }
  }
  const u8* mine = values_.data() + static_cast<size_t>(lane) * a_.bytes;
  const bool same_instruction = other_block == w_.block->linear && other.warp() == w_.index &&
                                other.inst() == (inst_index(w_, in_) & 0xffff) && other.clock() == w_.clock &&
                                other.step() == std::min(w_.step, 1023u);
  if (same_instruction) {  // memory does not hold the other lane's value yet; compare what overlaps
    const int l = static_cast<int>(other.thread() & 31);
    const u64 lo = std::max(a_.address[l], a_.address[lane]), hi = std::min(a_.address[l], a_.address[lane]) + a_.bytes;
    const u8* theirs = values_.data() + static_cast<size_t>(l) * a_.bytes;
    return lo < hi && std::memcmp(mine + (lo - a_.address[lane]), theirs + (lo - a_.address[l]), hi - lo) == 0;
  }
  const u8* memory =
      a_.space == Space::shared ? w_.block->shared + a_.address[lane] : reinterpret_cast<const u8*>(a_.address[lane]);
  (void)address;
  return std::memcmp(mine, memory, a_.bytes) == 0;
}

void RaceCheck::bulk_conflict(Record bulk, int lane, u64 address) {
  const Mbarrier& b = w_.block->async->mbarriers.numbered(bulk.thread());
  fault(w_, in_, lane, "async proxy",
        fmt::format("{} of shared bytes that a bulk copy has written, but the thread has not waited for its mbarrier",
                    kind_ == AccessKind::read ? "read" : "write"),
        fmt::format("copy    {}\nwaits   {}, whose phase {} must be seen to end\nmemory: {}",
                    describe_source(*w_.block->program, bulk.inst()), describe(b), bulk.clock(),
                    describe_address(w_, address, Space::shared)));
}

void RaceCheck::conflict(Record other, u64 other_block, bool other_writes, int lane, u64 address) {
  const u32 inst = inst_index(w_, in_);
  if (a_.space == Space::shared && other.spread() == Record::bulk) bulk_conflict(other, lane, address);
  const bool same_block = other_block == w_.block->linear && other.spread() != Record::several_blocks;
  if (!same_block && w_.block->launch->taken_over(*w_.block, other_block, other.spread() == Record::several_blocks))
    return;
  u32 thread = other.thread();
  if (other.spread() == Record::several_warps) {
    const WarpSets::Clocks& clocks = (*w_.block->sets)[other.set()];
    for (u32 v = 0; v < 32; v++)
      if (clocks[v] && clocks[v] >= w_.seen[v] && (v != w_.index || thread >> 5 != v)) thread = v * warp_size;
    if (!same_block) thread = 0;
  }
  const bool shuffled = same_block && other.spread() < Record::several_warps && other.warp() == w_.index &&
                        other.clock() == w_.clock && other.step() < w_.step;
  const bool same = same_value(other, other_block, lane, address);
  const char* other_verb = other_writes ? (other.atomic() ? "atomic" : "write") : "read";
  const char* my_verb = kind_ == AccessKind::read ? "read" : kind_ == AccessKind::atomic ? "atomic" : "write";
  const std::string kind = same ? "same-value write" : shuffled ? "ordered by a shuffle only" : "data race";
  const std::string what =
      fmt::format("{} after {} of the same bytes with nothing between that orders them{}", my_verb, other_verb,
                  same       ? "; the value stays the same"
                  : shuffled ? " but a shuffle"
                             : "");
  const std::string where = fmt::format("memory: {}", describe_address(w_, address, a_.space));
  const std::string other_place =
      fmt::format("{:<7} {}{}", other_verb, describe_place(w_, other_block, thread, other.inst()),
                  other.spread() ? "  (and other threads)" : "");
  if (same || shuffled) {
    if (!w_.block->launch->warned(kind, other.inst(), inst)) {
      const std::string text = fmt::format(
          "vgpu: {}: {}\n  {}\n  {:<7} {}\n  {}\n  {}", kind, what, describe_launch(*w_.block->launch), my_verb,
          describe_place(w_, w_.block->linear, first_thread_ + static_cast<u32>(lane), inst), other_place, where);
      w_.block->launch->warn(kind, other.inst(), inst, text);
    }
    return;
  }
  fault(w_, in_, lane, kind, what, other_place + "\n" + where);
}

void SharedShadow::reset(bool race) {
  std::fill(state_.begin(), state_.end(), unwritten);
  std::fill(readers_.begin(), readers_.end(), 0);
  reading_ = 0;
  if (race) {
    cells_.resize((bytes_ >> shift_) + 8);
    std::fill(cells_.begin(), cells_.end(), Cell{});
  }
}

void SharedShadow::refine(int shift) {
  std::vector<Cell> finer(((bytes_ >> shift) + 8));
  for (size_t i = 0; i < finer.size(); i++) finer[i] = cells_[std::min(i >> (shift_ - shift), cells_.size() - 1)];
  cells_ = std::move(finer);
  shift_ = shift;
}

void SharedShadow::check_races(Warp& w, const Inst& in, const Access& a, AccessKind kind) {
  const int needed = a.bytes >= 4 ? 2 : a.bytes == 2 ? 1 : 0;
  if (needed < shift_) refine(needed);
  RaceCheck check(w, in, a, kind);
  u64 last = ~u64{0};
  for (int l = 0; l < warp_size; l++) {
    if (!(a.mask >> l & 1)) continue;
    const u64 from = a.address[l] >> shift_, to = (a.address[l] + a.bytes - 1) >> shift_;
    if (kind == AccessKind::read && from == last) continue;  // a broadcast: the lane before has looked
    last = from;
    for (u64 i = from; i <= to; i++) check.access(cells_[i], l, a.address[l]);
  }
}

void SharedShadow::check_state(Warp& w, const Inst& in, const Access& a, bool reads) const {
  const u8* states = state_.data();
  u64 all = ~u64{0};
  for (int l = 0; l < warp_size; l++) {  // idle lanes repeat an active one
    const u8* state = states + a.address[l];
    u64 word = ~u64{0};
    switch (a.bytes) {
      case 1: all &= word << 8 | state[0]; break;
      case 2:
        std::memcpy(&word, state, 2);
        all &= word;
        break;
      case 4:
        std::memcpy(&word, state, 4);
        all &= word;
        break;
      default:
        for (u32 i = 0; i < a.bytes; i += 8) {
          std::memcpy(&word, state + i, 8);
          all &= word;
        }
    }
  }
  if (all == ~u64{0}) return;
  for (int l = 0; l < warp_size; l++) {
    if (!(a.mask >> l & 1)) continue;
    const u8* state = states + a.address[l];
    u8 whole = 0xff;
    bool flying = false;
    for (u32 i = 0; i < a.bytes; i++) {
      whole &= state[i];
      flying = flying || state[i] == in_flight;
      if (state[i] == bulk_flight || state[i] == mbarrier)
        check_async_state(w, in, l, static_cast<u32>(a.address[l]), a.bytes, reads);
    }
    if (flying)
      fault(w, in, l, "cp.async",
            fmt::format("{} of shared bytes that a cp.async still copies: no wait_group of the thread that started it "
                        "has covered it",
                        reads ? "read" : "write"),
            "memory: " + describe_address(w, a.address[l], Space::shared));
    if (reads && whole != 0xff) {
      u32 i = 0;
      while (state[i] == written) i++;
      fault(w, in, l, "uninitialised read",
            fmt::format("{} bytes at {}; byte {} of them was never written", a.bytes,
                        describe_address(w, a.address[l], Space::shared), i));
    }
  }
}

void SharedShadow::check(Warp& w, const Inst& in, const Access& a, AccessKind kind) {
  if (w.block->uninit) {
    const bool reads = kind != AccessKind::write;
    if (reads || copies_) check_state(w, in, a, reads);
  }
  if (reading_ && kind != AccessKind::read)
    for (int l = 0; l < warp_size; l++)
      if (a.mask >> l & 1) check_readers(w, in, l, a.address[l], a.bytes);
  if (w.block->race) check_races(w, in, a, kind);
  if (kind != AccessKind::read)
    for (int l = 0; l < warp_size; l++)
      if (a.mask >> l & 1) std::memset(state_.data() + a.address[l], written, a.bytes);
}

void SharedShadow::begin_copy(Warp& w, const Inst& in, const Access& a) {
  copies_ = true;
  if (w.block->uninit) check_state(w, in, a, false);
  if (w.block->race) check_races(w, in, a, AccessKind::write);
  for (int l = 0; l < warp_size; l++)
    if (a.mask >> l & 1) std::memset(state_.data() + a.address[l], in_flight, a.bytes);
}

void SharedShadow::end_copy(Warp& w, const Inst& in, const Access& a) {
  if (w.block->race) check_races(w, in, a, AccessKind::write);
  for (int l = 0; l < warp_size; l++)
    if (a.mask >> l & 1) std::memset(state_.data() + a.address[l], written, a.bytes);
}

struct GlobalShadow::Page {
  struct GlobalCell {
    Cell cell;
    u32 write_block = 0, read_block = 0;
  };
  // Replaced as a whole when finer cells are needed; others may look at it without the lock, so that it is never freed
  // before the page.
  struct Cells {
    std::atomic<u64> serial{0};  // of the launch
    int shift = 2;
    std::vector<GlobalCell> cells;
  };
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
  std::atomic<Cells*> shown{nullptr};
  std::vector<std::unique_ptr<Cells>> kept;

  void lock() {
    for (int tries = 0; busy.test_and_set(std::memory_order_acquire); tries++)
      if (tries >= 200) std::this_thread::yield();  // its holder may not be running
  }
  void unlock() { busy.clear(std::memory_order_release); }

  Cells& begin(u64 launch, int needed) {
    Cells* now = shown.load(std::memory_order_relaxed);
    const bool fresh = !now || now->serial.load(std::memory_order_relaxed) != launch;
    if (now && now->shift <= needed) {
      if (!fresh) return *now;
      std::fill(now->cells.begin(), now->cells.end(), GlobalCell{});
    } else {
      auto finer = std::make_unique<Cells>();
      finer->shift = needed;
      finer->cells.resize(size_t{1} << (page_shift - needed));
      if (!fresh)
        for (size_t i = 0; i < finer->cells.size(); i++) finer->cells[i] = now->cells[i >> (now->shift - needed)];
      now = finer.get();
      kept.push_back(std::move(finer));
    }
    now->serial.store(launch, std::memory_order_release);
    shown.store(now, std::memory_order_release);
    return *now;
  }
};

GlobalShadow::GlobalShadow(u64 bytes) : pages_((bytes >> page_shift) + 1) {}

GlobalShadow::~GlobalShadow() {
  for (std::atomic<Page*>& p : pages_) delete p.load();
}

GlobalShadow::Page& GlobalShadow::page(u64 index) {
  Page* p = pages_[index].load(std::memory_order_acquire);
  if (p) return *p;
  auto fresh = std::make_unique<Page>();
  if (pages_[index].compare_exchange_strong(p, fresh.get())) return *fresh.release();
  return *p;
}

// Cells [from, to] of a page for one lane. Between blocks there is no order: the first one to meet is reported, readers
// of several blocks are remembered as such.
void GlobalShadow::check_lane(RaceCheck& check, Page& page, u32 from, u32 to, int lane, u64 address,
                              const Block& block) {
  std::vector<Page::GlobalCell>& cells = page.shown.load(std::memory_order_relaxed)->cells;
  const u32 me = static_cast<u32>(block.linear);
  const bool strong = check.mine(lane).atomic(), reads = check.kind() == AccessKind::read;
  for (u32 i = from; i <= to; i++) {
    Page::GlobalCell& g = cells[i];
    Cell& c = g.cell;
    // Most cells are touched by nobody before, or only read by several blocks.
    if (!c.write.valid()) {
      if (reads && !c.read.valid()) {
        c.read = check.mine(lane);
        g.read_block = me;
        continue;
      }
      if (reads && c.read.spread() == Record::several_blocks && (strong || !c.read.atomic())) continue;
      if (!reads && (!c.read.valid() || (g.read_block == me && c.read.spread() == Record::one_thread &&
                                         c.read.thread() == check.mine(lane).thread()))) {
        c.write = check.mine(lane);
        c.read = {};
        g.write_block = me;
        continue;
      }
    }
    const bool foreign_write = c.write.valid() && (g.write_block != me || c.write.spread() == Record::several_blocks);
    const bool foreign_read = c.read.valid() && (g.read_block != me || c.read.spread() == Record::several_blocks);
    if (foreign_write && !(strong && c.write.atomic())) {
      check.conflict(c.write, g.write_block, true, lane, address);
      c.write = {};
    }
    if (!reads && foreign_read && !(strong && c.read.atomic())) {
      check.conflict(c.read, g.read_block, false, lane, address);
      c.read = {};
    }
    // What is left of other blocks does not conflict; keep it out of the check within the block.
    const Record old_write = c.write, old_read = c.read;
    const u32 old_write_block = g.write_block, old_read_block = g.read_block;
    if (foreign_write) c.write = {};
    if (foreign_read) c.read = {};
    check.access(c, lane, address);
    if (c.write.valid()) g.write_block = me;
    if (c.read.valid()) g.read_block = me;
    if (foreign_write && old_write.valid()) {
      c.write = old_write.with(Record::several_blocks);
      g.write_block = old_write_block;
    }
    if (foreign_read && old_read.valid()) {
      c.read = old_read.with(Record::several_blocks);
      g.read_block = old_read_block;
    }
  }
}

// Every cell was read by several blocks and written by none, which another read changes nothing about: known without
// the page's lock, which cores that read the same data would fight for.
bool GlobalShadow::only_read_before(const Access& a, u64 base, u64 serial) const {
  const Page::Cells* cells = nullptr;
  u64 index_of_cells = ~u64{0};
  for (int l = 0; l < warp_size; l++) {
    if (!(a.mask >> l & 1)) continue;
    const u64 begin = a.address[l] - base, index = begin >> page_shift;
    if ((begin + a.bytes - 1) >> page_shift != index) return false;
    if (index != index_of_cells) {
      const Page* page = pages_[index].load(std::memory_order_acquire);
      cells = page ? page->shown.load(std::memory_order_acquire) : nullptr;
      if (!cells || cells->serial.load(std::memory_order_acquire) != serial) return false;
      index_of_cells = index;
    }
    const u64 in_page = (u64{1} << page_shift) - 1;
    for (u64 i = (begin & in_page) >> cells->shift; i <= ((begin + a.bytes - 1) & in_page) >> cells->shift; i++) {
      Cell& cell = const_cast<Cell&>(cells->cells[i].cell);
      const Record write{std::atomic_ref(cell.write.bits).load(std::memory_order_relaxed)};
      const Record read{std::atomic_ref(cell.read.bits).load(std::memory_order_relaxed)};
      if (write.valid() || !read.valid() || read.spread() != Record::several_blocks || read.atomic()) return false;
    }
  }
  return true;
}

void GlobalShadow::check(Warp& w, const Inst& in, const Access& a, AccessKind kind, u64 base) {
  const int needed = a.bytes >= 4 ? 2 : a.bytes == 2 ? 1 : 0;
  const u64 serial = w.block->launch->serial;
  RaceCheck check(w, in, a, kind);
  if (kind == AccessKind::read && only_read_before(a, base, serial)) return;
  Page* held = nullptr;
  int shift = 0;
  u64 held_index = ~u64{0};
  const auto release = [&] {
    if (held) held->unlock();
    held = nullptr;
  };
  try {
    u64 last = ~u64{0};
    for (int l = 0; l < warp_size; l++) {
      if (!(a.mask >> l & 1)) continue;
      const u64 begin = a.address[l] - base, end = begin + a.bytes;
      if (kind == AccessKind::read && begin == last) continue;
      last = begin;
      for (u64 at = begin; at < end;) {
        const u64 index = at >> page_shift, stop = std::min(end, (index + 1) << page_shift);
        if (index != held_index || !held) {
          release();
          held = &page(index);
          held->lock();
          held_index = index;
          shift = held->begin(serial, needed).shift;
        }
        const u64 in_page = (u64{1} << page_shift) - 1;
        check_lane(check, *held, static_cast<u32>((at & in_page) >> shift),
                   static_cast<u32>(((stop - 1) & in_page) >> shift), l, a.address[l], *w.block);
        at = stop;
      }
    }
  } catch (...) {
    release();
    throw;
  }
  release();
}

}  // namespace vgpu
