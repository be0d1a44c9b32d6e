#include "vgpu/wgmma.h"

#include <fmt/format.h>

#include <algorithm>

#include "vgpu/async.h"
#include "vgpu/shadow.h"

namespace vgpu {

void WarpgroupState::begin_block(Block& block) {
  const Program& program = *block.program;
  warps_.resize(block.warps.size());
  for (WarpState& s : warps_) {
    s.products.clear();
    s.registers.assign(program.register_widths.size(), {});
    s.serial = s.committed = s.fences = 0;
    s.issued = s.ended = 0;
  }
  issued_ = 0;
  groups_.assign((block.warps.size() + 3) / 4, {});
}

std::string WarpgroupState::describe(const Warp& w, u32 serial) const {
  for (const Product& p : warps_[w.index].products)
    if (p.serial == serial)
      return fmt::format("wgmma   {}", describe_source(*w.block->program, inst_index(w, *p.inst)));
  return "";
}

void WarpgroupState::check_registers(Warp& w, const Inst& in, u32 pc) {
  if (in.tracking == Inst::Tracking::own) return;
  const Program& program = *w.block->program;
  WarpState& s = warps_[w.index];
  u32 copied = ~0u;
  for (u32 i = program.use_begin[pc]; i < program.use_begin[pc + 1]; i++) {
    const u32 number = program.uses[i] / 2;
    const bool write = program.uses[i] % 2;
    Register& r = s.registers[number];
    if (in.tracking == Inst::Tracking::copy) {
      if (!write) copied = number;
      continue;
    }
    if (r.product && (write || r.result))
      fault(w, in, -1, "wgmma",
            fmt::format("{} of a register that a wgmma.mma_async still {}: no wgmma.wait_group has covered it",
                        write ? "write" : "read", r.result ? "writes" : "reads"),
            describe(w, r.product));
    if (write) r.written = s.fences + 1;
  }
  if (in.tracking != Inst::Tracking::copy) return;
  for (u32 i = program.use_begin[pc]; i < program.use_begin[pc + 1]; i++) {
    if (program.uses[i] % 2 == 0) continue;
    Register& to = s.registers[program.uses[i] / 2];
    to = copied == ~0u ? Register{} : s.registers[copied];
    for (Product& p : s.products)
      if (to.product && p.serial == to.product) p.registers.push_back(program.uses[i] / 2);
  }
}

void WarpgroupState::issue(Warp& w, const Inst& in, const std::vector<SharedRun>& reads) {
  const Program& program = *w.block->program;
  WarpState& s = warps_[w.index];
  Product p;
  p.serial = ++s.serial;
  p.inst = &in;
  const u32 pc = inst_index(w, in);
  // Accumulators come first, as results and as operands; the descriptors have 8 bytes.
  for (u32 i = program.use_begin[pc]; i < program.use_begin[pc + 1]; i++) {
    const u32 number = program.uses[i] / 2;
    const bool fragment = program.register_widths[number] == 4;
    Register& r = s.registers[number];
    if (r.product == p.serial) continue;  // an accumulator's second mention
    const bool result = program.uses[i] % 2;
    if (r.written == s.fences + 1 && fragment)
      fault(w, in, -1, "wgmma", "a register of this product was written after the last wgmma.fence");
    if (!result && r.product && r.result)
      fault(w, in, -1, "wgmma", "an operand is the result of a product that no wgmma.wait_group has covered",
            describe(w, r.product));
    if (!fragment) continue;
    r.product = p.serial;
    r.result = result;
    p.registers.push_back(number);
  }
  p.number = s.issued++;
  issued_++;
  s.products.push_back(std::move(p));
  Group& group = groups_[w.index / 4];
  Shared& shared = group.products[s.products.back().number - group.first];
  shared.reads.insert(shared.reads.end(), reads.begin(), reads.end());
  if (w.block->shadow)
    for (const SharedRun& run : reads) w.block->shadow->begin_async_read(w, in, 0, run.address, run.bytes);
}

void WarpgroupState::begin(Warp& w, const Inst& in, u64 a, u64 b, bool scale) {
  const u32 first = w.index / 4 * 4;
  if (first + 4 > w.block->warps.size())
    fault(w, in, -1, "wgmma", fmt::format("the warpgroup has {} warps, not 4", w.block->warps.size() - first));
  Group& group = groups_[w.index / 4];
  const u64 at = warps_[w.index].issued - group.first;
  if (at == group.products.size()) {
    group.products.push_back({&in, a, b, scale, {}});
  } else if (const Shared& other = group.products[at];
             other.inst != &in || other.a != a || other.b != b || other.scale != scale) {
    fault(w, in, -1, "wgmma", "the warps of a warpgroup do not execute the same wgmma.mma_async with the same operands",
          fmt::format("another {}", describe_source(*w.block->program, inst_index(w, *other.inst))));
  }
}

void WarpgroupState::commit_group(const Warp& w) {
  WarpState& s = warps_[w.index];
  for (Product& p : s.products)
    if (p.group == open) p.group = s.committed;
  s.committed++;
}

bool WarpgroupState::can_wait(const Warp& w, u32 keep) const {
  const WarpState& s = warps_[w.index];
  u64 needed = 0;
  for (const Product& p : s.products)
    if (p.group != open && u64{p.group} + keep < s.committed) needed = p.number + 1;
  if (!needed) return true;
  const u32 first = w.index / 4 * 4;
  for (u32 v = first; v < first + 4; v++)
    if (warps_[v].issued < needed) return false;
  return true;
}

void WarpgroupState::end_reads(Warp& w, Shared& p) {
  p.read = true;
  p.reader = w.index;
  p.reader_clock = w.clock;
  if (w.block->shadow)
    for (const SharedRun& run : p.reads) w.block->shadow->end_async_read(w, *p.inst, 0, run.address, run.bytes);
}

void WarpgroupState::wait_group(Warp& w, u32 keep) {
  WarpState& s = warps_[w.index];
  Group& group = groups_[w.index / 4];
  while (!s.products.empty()) {
    Product& p = s.products.front();
    if (p.group == open || u64{p.group} + keep >= s.committed) break;
    for (const u32 number : p.registers)
      if (Register& r = s.registers[number]; r.product == p.serial) r.product = 0;
    Shared& shared = group.products[p.number - group.first];
    if (!shared.read) end_reads(w, shared);
    w.seen[shared.reader] = std::max(w.seen[shared.reader], shared.reader_clock + 1);
    s.ended = p.number + 1;
    s.products.pop_front();
  }
  w.seen[w.index] = ++w.clock;  // the reads were the whole warp's
  w.step = 0;
  const u32 first = w.index / 4 * 4, end = std::min<u32>(first + 4, static_cast<u32>(warps_.size()));
  u64 least = ~u64{0};
  for (u32 v = first; v < end; v++) least = std::min(least, warps_[v].ended);
  for (; group.first < least; group.first++) group.products.pop_front();
}

std::string WarpgroupState::describe_use(const Block& block, u32 address, u32 bytes) const {
  for (size_t g = 0; g < groups_.size(); g++)
    for (const Shared& p : groups_[g].products)
      for (const SharedRun& run : p.reads)
        if (!p.read && run.address < address + bytes && address < run.address + run.bytes) {
          const Warp& w = block.warps[g * 4];
          return fmt::format("wgmma   {}",
                             describe_place(w, block.linear, w.index * warp_size, inst_index(w, *p.inst)));
        }
  return "";
}

}  // namespace vgpu
