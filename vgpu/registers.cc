// Liveness over basic blocks, then a linear scan over the intervals from a register's first to its last living
// instruction. Lanes of a warp each follow the control flow graph and write only their own elements, so what holds for
// one thread holds for diverged lanes.
#include "vgpu/registers.h"

#include <algorithm>
#include <bit>
#include <map>
#include <queue>

namespace vgpu {
namespace {

class Bits {
 public:
  explicit Bits(size_t n = 0) : words_((n + 63) / 64) {}
  bool operator[](size_t i) const { return words_[i / 64] >> (i % 64) & 1; }
  void set(size_t i) { words_[i / 64] |= u64{1} << (i % 64); }
  // this |= other without `except`; true if anything was new.
  bool add(const Bits& other, const Bits* except) {
    u64 fresh = 0;
    for (size_t i = 0; i < words_.size(); i++) {
      const u64 v = except ? other.words_[i] & ~except->words_[i] : other.words_[i];
      fresh |= v & ~words_[i];
      words_[i] |= v;
    }
    return fresh != 0;
  }
  template <class F>
  void each(F f) const {
    for (size_t w = 0; w < words_.size(); w++)
      for (u64 v = words_[w]; v; v &= v - 1) f(w * 64 + static_cast<size_t>(std::countr_zero(v)));
  }

 private:
  std::vector<u64> words_;
};

struct BasicBlock {
  u32 begin = 0, end = 0;
  std::vector<u32> successors;
  Bits used, defined;  // read before written; certainly written
  Bits in, out;
};

bool ends_block(Control c) {
  return c == Control::branch || c == Control::branch_table || c == Control::call || c == Control::ret ||
         c == Control::exit;
}

class Liveness {
 public:
  Liveness(const Program& p, const std::vector<RegisterUse>& uses, size_t registers) : program_(p) {
    make_blocks();
    link_blocks();
    for (BasicBlock& b : blocks_) b.used = b.defined = b.in = b.out = Bits(registers);
    read_uses(uses);
    solve();
  }
  const std::vector<BasicBlock>& blocks() const { return blocks_; }
  const BasicBlock& block_at(u32 inst) const { return blocks_[block_of_[inst]]; }

 private:
  void make_blocks() {
    const std::vector<Inst>& code = program_.code;
    std::vector<bool> leader(code.size() + 1);
    leader[0] = leader[program_.entry] = true;
    for (u32 i = 0; i < code.size(); i++) {
      if (!ends_block(code[i].control)) continue;
      leader[i + 1] = true;
      if (code[i].control == Control::branch || code[i].control == Control::call) leader[code[i].target] = true;
      if (code[i].control == Control::branch_table)
        for (u32 t = 0; t < code[i].list_size; t++) leader[code[i].list[t]] = true;
    }
    block_of_.resize(code.size());
    for (u32 i = 0; i < code.size(); i++) {
      if (leader[i]) {
        blocks_.emplace_back();
        blocks_.back().begin = i;
      }
      blocks_.back().end = i + 1;
      block_of_[i] = static_cast<u32>(blocks_.size() - 1);
    }
  }

  void link_blocks() {
    const std::vector<Inst>& code = program_.code;
    // A function returns to behind every call of it; its instructions are those from its entry to the next function's.
    std::map<u32, std::vector<u32>> returns;
    for (u32 i = 0; i < code.size(); i++)
      if (code[i].control == Control::call) returns[code[i].target].push_back(i + 1);
    const auto add = [&](BasicBlock& b, u32 target) {
      if (target < code.size()) b.successors.push_back(block_of_[target]);
    };
    for (BasicBlock& b : blocks_) {
      const u32 last = b.end - 1;
      const Inst& in = code[last];
      bool falls_through = in.guard != 0;
      switch (in.control) {
        case Control::branch:
        case Control::call: add(b, in.target); break;
        case Control::branch_table:
          for (u32 t = 0; t < in.list_size; t++) add(b, in.list[t]);
          break;
        case Control::ret: {
          const auto after = returns.upper_bound(last);
          if (after != returns.begin())
            for (const u32 site : std::prev(after)->second) add(b, site);
          break;
        }
        case Control::exit: break;
        default: falls_through = true;
      }
      if (falls_through) add(b, b.end);
    }
  }

  void read_uses(const std::vector<RegisterUse>& uses) {
    for (size_t first = 0; first < uses.size();) {
      size_t last = first;
      while (last < uses.size() && uses[last].inst == uses[first].inst) last++;
      BasicBlock& b = blocks_[block_of_[uses[first].inst]];
      const bool certain = program_.code[uses[first].inst].guard == 0;
      for (size_t i = first; i < last; i++)
        if ((!uses[i].write || !certain) && !b.defined[uses[i].reg]) b.used.set(uses[i].reg);
      for (size_t i = first; i < last; i++)
        if (uses[i].write && certain && !b.used[uses[i].reg]) b.defined.set(uses[i].reg);
      first = last;
    }
  }

  void solve() {
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t i = blocks_.size(); i-- > 0;) {
        BasicBlock& b = blocks_[i];
        for (const u32 s : b.successors) b.out.add(blocks_[s].in, nullptr);
        changed |= b.in.add(b.used, nullptr);
        changed |= b.in.add(b.out, &b.defined);
      }
    }
  }

  const Program& program_;
  std::vector<BasicBlock> blocks_;
  std::vector<u32> block_of_;
};

struct Interval {
  u32 reg = 0, from = ~0u, to = 0;
  void include(u32 at) {
    from = std::min(from, at);
    to = std::max(to, at);
  }
};

u32 place_bytes(int bytes) { return static_cast<u32>((bytes * warp_size + 63) / 64 * 64); }

}  // namespace

RegisterPlan place_registers(const Program& program, const std::vector<RegisterUse>& uses,
                             const std::vector<VirtualRegister>& registers) {
  RegisterPlan plan;
  plan.offsets.resize(registers.size());
  const auto fresh = [&](int bytes) {
    const u32 offset = plan.bytes;
    plan.bytes += place_bytes(bytes);
    return offset;
  };
  for (size_t r = 0; r < registers.size(); r++)
    if (registers[r].fixed) plan.offsets[r] = fresh(registers[r].bytes);

  const Liveness liveness(program, uses, registers.size());
  std::vector<Interval> intervals(registers.size());
  for (size_t r = 0; r < registers.size(); r++) intervals[r].reg = static_cast<u32>(r);
  for (const RegisterUse& u : uses) intervals[u.reg].include(u.inst);
  for (const BasicBlock& b : liveness.blocks()) {
    b.in.each([&](size_t r) { intervals[r].include(b.begin); });
    b.out.each([&](size_t r) { intervals[r].include(b.end - 1); });
  }
  std::erase_if(intervals, [&](const Interval& i) { return registers[i.reg].fixed || i.from == ~0u; });
  std::sort(intervals.begin(), intervals.end(), [](const Interval& a, const Interval& b) { return a.from < b.from; });

  // A place is free again after the last instruction that reads it: an instruction's results never lie where its
  // operands do.
  struct Busy {
    u32 to, offset;
    int bytes;
    bool operator<(const Busy& other) const { return to > other.to; }
  };
  std::priority_queue<Busy> busy;
  std::map<int, std::vector<u32>> free_places;
  for (const Interval& i : intervals) {
    while (!busy.empty() && busy.top().to < i.from) {
      free_places[busy.top().bytes].push_back(busy.top().offset);
      busy.pop();
    }
    const int bytes = registers[i.reg].bytes;
    std::vector<u32>& places = free_places[bytes];
    u32 offset;
    if (places.empty()) {
      offset = fresh(bytes);
    } else {
      offset = places.back();
      places.pop_back();
    }
    plan.offsets[i.reg] = offset;
    busy.push({i.to, offset, bytes});
  }
  liveness.block_at(program.entry).in.each([&](size_t r) {
    if (!registers[r].fixed) plan.cleared.push_back({plan.offsets[r], place_bytes(registers[r].bytes)});
  });
  return plan;
}

}  // namespace vgpu
