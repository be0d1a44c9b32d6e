// Branches, calls, barriers, fences, trap, and the calls of the device runtime: vprintf and __assertfail.
#include <fmt/format.h>

#include "vgpu/access.h"
#include "vgpu/async.h"
#include "vgpu/builder.h"
#include "vgpu/control.h"
#include "vgpu/printf.h"

namespace vgpu {
namespace {

void nothing(Warp&, const Inst&, u32) {}

void decode_bra(Decoder& d) {
  d.take("uni");
  d.expect(1);
  d.inst.control = Control::branch;
  d.label(d.operand(0));
}

void decode_brx(Decoder& d) {
  if (!d.take("idx")) d.refuse("brx.idx is expected");
  d.take("uni");
  d.expect(2);
  d.inst.control = Control::branch_table;
  d.source(&Inst::a, d.operand(0), Type::u32);
  d.label_list(d.operand(1));
}

void decode_ret(Decoder& d) {
  d.take("uni");
  d.expect(0);
  if (d.in_kernel()) {
    d.inst.control = Control::exit;
  } else {
    d.inst.control = Control::ret;
    d.return_slot(&Inst::a);
  }
}

void decode_exit(Decoder& d) {
  d.expect(0);
  d.inst.control = Control::exit;
}

void decode_trap(Decoder& d) {
  d.expect(0);
  d.inst.control = Control::trap;
}

// Copies parameters lane by lane: triples of from, to, bytes, all in local memory.
void copy_parameters(Warp& w, const Inst& in, u32 m) {
  for (u32 i = 0; i + 2 < in.list_size; i += 3)
    each_lane(m, [&](int l) {
      u8* base = w.local + static_cast<u64>(l) * w.block->local_stride;
      std::memcpy(base + in.list[i + 1], base + in.list[i], in.list[i + 2]);
    });
}

u64 read_parameter(Warp& w, int lane, u32 place, u32 bytes) {
  u64 v = 0;
  std::memcpy(&v, w.local + static_cast<u64>(lane) * w.block->local_stride + place, bytes);
  return v;
}

std::string read_string(Warp& w, const Inst& in, int lane, u64 address) {
  std::string s;
  while (s.size() < 4096) {
    const char c = static_cast<char>(*resolve(w, in, lane, address + s.size(), 1, Space::generic));
    if (!c) return s;
    s += c;
  }
  return s;
}

// vprintf(format, arguments): list holds the places of the two pointers and of the result.
void device_printf(Warp& w, const Inst& in, u32 m) {
  for (int l = 0; l < warp_size; l++) {
    if (!(m >> l & 1)) continue;
    const u64 format = read_parameter(w, l, in.list[0], 8), arguments = read_parameter(w, l, in.list[1], 8);
    const auto read = [&](u64 offset, u32 bytes) {
      u64 v = 0;
      std::memcpy(&v, resolve(w, in, l, arguments + offset, bytes, Space::generic), bytes);
      return v;
    };
    const auto text = [&](u64 address) { return read_string(w, in, l, address); };
    const FormatResult r = format_device(read_string(w, in, l, format), read, text);
    w.block->output += r.text;
    const i32 count = r.arguments;
    if (in.list_size > 2) std::memcpy(w.local + static_cast<u64>(l) * w.block->local_stride + in.list[2], &count, 4);
  }
}

// __assertfail(message, file, line, function, character size)
void device_assert(Warp& w, const Inst& in, u32 m) {
  const int l = first_lane(m);
  const auto text = [&](int i) { return read_string(w, in, l, read_parameter(w, l, in.list[i], 8)); };
  fault(
      w, in, l, "assert",
      fmt::format("{}:{}: {}: assertion `{}` failed", text(1), read_parameter(w, l, in.list[2], 4), text(3), text(0)));
}

// call (results), name, (parameters): the results and parameters are .param variables of the caller.
void decode_call(Decoder& d) {
  d.take("uni");
  size_t at = 0;
  std::vector<Symbol> results, parameters;
  if (d.size() && d.operand(0).kind == Operand::Kind::list) {
    for (const Operand& o : d.operand(at).items) results.push_back(d.parameter(o));
    at++;
  }
  if (at >= d.size() || d.operand(at).kind != Operand::Kind::name || d.is_register(d.operand(at)))
    d.refuse("indirect calls are not supported");
  const std::string_view name = d.operand(at++).name;
  if (at < d.size() && d.operand(at).kind == Operand::Kind::list) {
    for (const Operand& o : d.operand(at).items) parameters.push_back(d.parameter(o));
    at++;
  }
  if (at != d.size()) d.refuse("indirect calls are not supported");
  d.call(name, parameters, results);
}

void decode_bar(Decoder& d) {
  if (d.take("warp")) {
    if (!d.take("sync")) d.refuse("bar.warp.sync is expected");
    d.expect(1);
    d.inst.control = Control::converge;
    d.inst.run = [](Warp& w, const Inst&, u32) {
      w.clock++;
      w.step = 0;
      w.seen[w.index] = w.clock;
    };
    d.source(&Inst::a, d.operand(0), Type::b32);
    return;
  }
  if (d.has_opcode("barrier") && d.take("cluster")) return decode_cluster_barrier(d);
  d.take("cta");
  const bool aligned = d.take("aligned") || d.has_opcode("bar");
  const std::string_view what = d.require_one({"sync", "arrive", "red"});
  BarrierKind kind = what == "sync" ? BarrierKind::sync : BarrierKind::arrive;
  size_t at = 0;
  if (what == "red") {
    const std::string_view op = d.require_one({"popc", "and", "or"});
    const Type t = d.take_type();
    kind = op == "popc" ? BarrierKind::popc : op == "and" ? BarrierKind::all : BarrierKind::any;
    if (t != (kind == BarrierKind::popc ? Type::u32 : Type::pred)) d.refuse("bar.red has another type");
    if (kind == BarrierKind::popc) {
      d.dest(&Inst::d, d.operand(0), 4);
    } else {
      d.dest_predicate(&Inst::d, d.operand(0));
    }
    at = 1;
  }
  d.inst.control = Control::barrier;
  d.inst.all_lanes = aligned;
  d.inst.sub = static_cast<u16>(kind);
  const size_t tail = what == "red" ? 1 : 0;
  if (d.size() < at + 1 + tail || d.size() > at + 2 + tail) d.refuse("these operands of a barrier are not supported");
  d.source(&Inst::a, d.operand(at), Type::u32);
  if (d.operand(at).kind == Operand::Kind::number) {  // as good as always: known here, not asked of every lane
    d.inst.bytes = 1;
    d.inst.offset = static_cast<i64>(d.operand(at).bits);
  }
  d.inst.count = 1;
  if (d.size() == at + 2 + tail) {
    d.inst.count = 2;
    d.source(&Inst::b, d.operand(at + 1), Type::u32);
  }
  if (kind == BarrierKind::arrive && d.inst.count == 1) d.refuse("bar.arrive needs a thread count");
  if (tail) d.source_predicate(&Inst::e, d.operand(d.size() - 1));
}

// Memory is sequentially consistent here; for the race rule, an atomic after a device-wide fence hands on what the
// block has done.
void device_fence(Warp& w, const Inst&, u32) { w.block->fenced = true; }

void decode_fence(Decoder& d) {
  d.inst.run = nothing;
  if (d.has_opcode("membar")) {
    d.inst.fence = d.require_one({"cta", "gl", "sys"}) != "cta";
  } else if (d.take("proxy")) {
    const bool async = d.require_one({"async", "alias"}) == "async";
    const std::string_view space = d.take_one({"global", "shared::cta", "shared::cluster"});
    if (!async && !space.empty()) d.refuse("fence.proxy.alias has no state space");
    if (async && space != "global") {
      d.inst.async = true;
      d.inst.run = [](Warp& w, const Inst&, u32) { fence_proxy(w); };
    }
  } else if (d.take("mbarrier_init")) {
    if (!d.take("release") || !d.take("cluster")) d.refuse("fence.mbarrier_init.release.cluster is expected");
    d.inst.async = true;
    d.inst.run = [](Warp& w, const Inst&, u32) { w.block->async->mbarriers.fence_inits(w); };
  } else {
    d.take_one({"sc", "acq_rel", "acquire", "release"});
    const std::string_view scope = d.require_one({"cta", "gpu", "sys", "cluster"});
    d.inst.fence = scope == "gpu" || scope == "sys";
  }
  if (d.inst.fence) d.inst.run = device_fence;
  d.expect(0);
}

void decode_nanosleep(Decoder& d) {
  d.take_type();
  d.expect(1);
  d.inst.run = nothing;
  d.source(&Inst::a, d.operand(0), Type::u32);
}

// Hints: nothing happens, and the address is not looked at.
void decode_prefetch(Decoder& d) {
  d.take_one({"global", "local"});
  d.take("tensormap");
  d.take_one({"L1", "L2", "L2::evict_last", "L2::evict_normal"});
  d.inst.run = nothing;
  d.expect(1);
  d.address(d.operand(0));
}

// Registers of a warp are as many as its kernel declares; what may be asked for is checked.
void decode_setmaxnreg(Decoder& d) {
  d.require_one({"inc", "dec"});
  if (!d.take("sync") || !d.take("aligned") || !d.take("u32")) d.refuse("setmaxnreg.sync.aligned.u32 is expected");
  d.expect(1);
  const u64 count = d.immediate(d.operand(0));
  if (count < 24 || count > 256 || count % 8) d.refuse("setmaxnreg takes multiples of 8 from 24 to 256");
  d.inst.control = Control::converge;
  d.inst.all_lanes = true;
  d.inst.run = nothing;
}

void decode_griddepcontrol(Decoder& d) {
  d.require_one({"launch_dependents", "wait"});
  d.expect(0);
  d.inst.run = nothing;
}

}  // namespace

// Defined here because it ties the decoder to the builder's functions.
void Decoder::call(std::string_view name, const std::vector<Symbol>& parameters, const std::vector<Symbol>& results) {
  const auto places = [&](const std::vector<u32>& values) {
    begin_list(values.size());
    std::copy(values.begin(), values.end(), const_cast<u32*>(inst.list));
  };
  if (name == "vprintf" || name == "__assertfail") {
    const bool print = name == "vprintf";
    if (parameters.size() != (print ? 2u : 5u)) refuse("this call has other parameters than expected");
    std::vector<u32> values;
    for (const Symbol& s : parameters) values.push_back(static_cast<u32>(s.address));
    for (const Symbol& s : results) values.push_back(static_cast<u32>(s.address));
    places(values);
    inst.run = print ? device_printf : device_assert;
    return;
  }
  const Builder::Function* f = builder_.find_function(name);
  if (!f) refuse(fmt::format("call of '{}', which is not defined here", name));
  if (f->parameters.size() != parameters.size() || f->returns.size() != results.size())
    refuse("the function has other parameters");
  std::vector<u32> copies;
  const auto copy = [&](const Symbol& from, const Symbol& to) {
    if (from.bytes != to.bytes) refuse("a parameter of the function has another size");
    copies.insert(copies.end(), {static_cast<u32>(from.address), static_cast<u32>(to.address), from.bytes});
  };
  for (size_t i = 0; i < parameters.size(); i++) copy(parameters[i], f->parameters[i]);
  inst.control = Control::call;
  inst.target = f->entry;
  inst.run = copy_parameters;
  places(copies);
  builder_.refer(&Inst::d, f->return_slot, true);
  copies.clear();
  for (size_t i = 0; i < results.size(); i++) copy(f->returns[i], results[i]);
  if (!copies.empty()) {
    Inst after;
    after.run = copy_parameters;
    after.guard = inst.guard;
    after.guard_xor = inst.guard_xor;
    u32* list = builder_.list(copies.size());
    std::copy(copies.begin(), copies.end(), list);
    after.list = list;
    after.list_size = static_cast<u16>(copies.size());
    builder_.append(after);
  }
}

const OpcodeList control_opcodes = {
    {"bra", decode_bra},
    {"brx", decode_brx},
    {"ret", decode_ret},
    {"exit", decode_exit},
    {"trap", decode_trap},
    {"call", decode_call},
    {"bar", decode_bar},
    {"barrier", decode_bar},
    {"membar", decode_fence},
    {"fence", decode_fence},
    {"nanosleep", decode_nanosleep},
    {"prefetch", decode_prefetch},
    {"griddepcontrol", decode_griddepcontrol},
    {"setmaxnreg", decode_setmaxnreg},
};

}  // namespace vgpu
