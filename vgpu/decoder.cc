#include "vgpu/decoder.h"

#include <bit>
#include <unordered_map>

#include <fmt/format.h>

#include "vgpu/builder.h"

namespace vgpu {

void Decoder::refuse(std::string what) const { throw Refusal{std::move(what)}; }

bool Decoder::take(std::string_view qualifier) {
  for (size_t i = 0; i < statement_.qualifiers.size(); i++)
    if (!(used_ >> i & 1) && statement_.qualifiers[i] == qualifier) {
      used_ |= 1u << i;
      return true;
    }
  return false;
}

std::string_view Decoder::take_one(std::initializer_list<std::string_view> qualifiers) {
  for (const std::string_view q : qualifiers)
    if (take(q)) return q;
  return "";
}

std::string_view Decoder::require_one(std::initializer_list<std::string_view> qualifiers) {
  const std::string_view q = take_one(qualifiers);
  if (q.empty()) refuse(fmt::format("one of .{} is expected", fmt::join(qualifiers, ", .")));
  return q;
}

Type Decoder::take_type_or_none() {
  for (size_t i = 0; i < statement_.qualifiers.size(); i++)
    if (!(used_ >> i & 1))
      if (const Type t = parse_type(statement_.qualifiers[i]); t != Type::none) {
        used_ |= 1u << i;
        return t;
      }
  return Type::none;
}

Type Decoder::take_type() {
  const Type t = take_type_or_none();
  if (t == Type::none) refuse("a type is expected");
  return t;
}

void Decoder::finish() const {
  for (size_t i = 0; i < statement_.qualifiers.size(); i++)
    if (!(used_ >> i & 1))
      refuse(fmt::format("qualifier .{} of '{}' is not supported", statement_.qualifiers[i], statement_.opcode));
}

void Decoder::expect(size_t least, size_t most) const {
  if (size() < least || size() > most) refuse(fmt::format("{} operands are not supported", size()));
}

bool Decoder::is_register(const Operand& o) const {
  if (o.kind != Operand::Kind::name) return false;
  if (builder_.special(o.name)) return true;
  const std::optional<Symbol> s = builder_.find(o.name);
  return s && s->kind == Symbol::Kind::reg;
}

int Decoder::dest_any(u32 Inst::*field, const Operand& o) {
  const std::optional<Symbol> s = o.kind == Operand::Kind::name ? builder_.find(o.name) : std::nullopt;
  if (!s || s->kind != Symbol::Kind::reg || o.offset) refuse("the destination is no register");
  builder_.refer(field, s->number, true);
  return builder_.register_bytes(s->number);
}

void Decoder::dest(u32 Inst::*field, const Operand& o, int bytes) {
  const int have = dest_any(field, o);
  if (have != bytes) refuse(fmt::format("'{}' has {} bits, not {}", o.name, 8 * have, 8 * bytes));
}

int Decoder::source_any(u32 Inst::*field, const Operand& o, Type type_of_number) {
  const int bytes = std::max(2, type_bytes(type_of_number));
  u32 reg = 0;
  if (o.kind == Operand::Kind::number) {
    u64 bits = o.bits;
    if (o.literal == 'f' && type_of_number == Type::f64) {
      bits = std::bit_cast<u64>(static_cast<double>(std::bit_cast<float>(static_cast<u32>(bits))));
    } else if (o.literal == 'd' && bytes != 8) {
      refuse("a 64-bit literal for a smaller operand");
    }
    reg = builder_.constant(bits, bytes);
  } else if (o.kind == Operand::Kind::name) {
    if (const auto special = builder_.special(o.name)) {
      reg = *special;
    } else if (o.name == "WARP_SZ") {
      reg = builder_.constant(warp_size, bytes);
    } else {
      const std::optional<Symbol> s = builder_.find(o.name);
      if (!s) refuse(fmt::format("'{}' is not declared", o.name));
      if (s->kind == Symbol::Kind::predicate) refuse(fmt::format("'{}' is a predicate", o.name));
      if (s->kind == Symbol::Kind::parameter && s->space != Space::param)
        refuse("address of a device function's parameter");
      if (s->kind != Symbol::Kind::reg) {
        reg = builder_.constant(s->address + static_cast<u64>(o.offset), bytes);
      } else if (o.offset) {
        refuse("a register plus an offset");
      } else {
        reg = s->number;
      }
    }
  } else {
    refuse("operand is neither a register nor a number");
  }
  builder_.refer(field, reg, false);
  return builder_.register_bytes(reg);
}

void Decoder::source(u32 Inst::*field, const Operand& o, Type type) {
  const int bytes = std::max(2, type_bytes(type)), have = source_any(field, o, type);
  if (have != bytes) refuse(fmt::format("'{}' has {} bits, not {}", o.name, 8 * have, 8 * bytes));
}

void Decoder::begin_list(size_t size) {
  inst.list = builder_.list(size);
  inst.list_size = static_cast<u16>(size);
  list_at_ = 0;
}

int Decoder::dest_list(const Operand& o, int bytes) {
  const auto add = [&](const Operand& item) {
    if (list_at_ >= inst.list_size) refuse("too many registers in braces");
    u32* entry = const_cast<u32*>(inst.list) + list_at_++;
    if (item.kind == Operand::Kind::sink) {
      *entry = sink;
      return;
    }
    const std::optional<Symbol> s = item.kind == Operand::Kind::name ? builder_.find(item.name) : std::nullopt;
    if (!s || s->kind != Symbol::Kind::reg) refuse("the destination is no register");
    const int have = builder_.register_bytes(s->number);
    if (bytes == 0) bytes = have;
    if (have != bytes) refuse(fmt::format("'{}' has {} bits, not {}", item.name, 8 * have, 8 * bytes));
    builder_.refer(entry, s->number, true);
  };
  if (o.kind == Operand::Kind::list) {
    for (const Operand& item : o.items) add(item);
  } else {
    add(o);
  }
  return bytes;
}

int Decoder::source_list(const Operand& o, Type type, bool any_width) {
  int width = 0;
  const auto add = [&](const Operand& item) {
    if (list_at_ >= inst.list_size) refuse("too many registers in braces");
    u32* entry = const_cast<u32*>(inst.list) + list_at_++;
    u32 reg = 0;
    if (item.kind == Operand::Kind::number) {
      reg = builder_.constant(item.bits, width ? width : std::max(2, type_bytes(type)));
    } else {
      const std::optional<Symbol> s = item.kind == Operand::Kind::name ? builder_.find(item.name) : std::nullopt;
      const auto special = item.kind == Operand::Kind::name ? builder_.special(item.name) : std::nullopt;
      if (special) {
        reg = *special;
      } else if (s && s->kind == Symbol::Kind::address) {
        reg = builder_.constant(s->address + static_cast<u64>(item.offset), std::max(2, type_bytes(type)));
      } else if (s && s->kind == Symbol::Kind::reg) {
        reg = s->number;
      } else {
        refuse("an operand in braces is neither a register nor a number");
      }
    }
    const int have = builder_.register_bytes(reg);
    if (width == 0) width = have;
    if (have != width || (!any_width && have != std::max(2, type_bytes(type))))
      refuse(fmt::format("'{}' has {} bits, not {}", item.name, 8 * have, 8 * (any_width ? width : type_bytes(type))));
    builder_.refer(entry, reg, false);
  };
  if (o.kind == Operand::Kind::list) {
    // A number takes the width of the registers beside it.
    for (const Operand& item : o.items)
      if (any_width && item.kind == Operand::Kind::name && !width)
        if (const std::optional<Symbol> s = builder_.find(item.name); s && s->kind == Symbol::Kind::reg)
          width = builder_.register_bytes(s->number);
    for (const Operand& item : o.items) add(item);
  } else {
    add(o);
  }
  return width;
}

void Decoder::dest_predicate(u32 Inst::*field, const Operand& o) {
  const std::optional<Symbol> s = o.kind == Operand::Kind::name ? builder_.find(o.name) : std::nullopt;
  if (!s || s->kind != Symbol::Kind::predicate || o.inverted) refuse("the destination is no predicate");
  inst.*field = s->number * 2;
}

void Decoder::source_predicate(u32 Inst::*field, const Operand& o) {
  if (o.kind == Operand::Kind::number) {  // predicate 0 is always true
    inst.*field = (o.bits != 0) != o.inverted ? 0 : 1;
    return;
  }
  const std::optional<Symbol> s = o.kind == Operand::Kind::name ? builder_.find(o.name) : std::nullopt;
  if (!s || s->kind != Symbol::Kind::predicate) refuse("an operand is no predicate");
  inst.*field = s->number * 2 + (o.inverted ? 1 : 0);
}

void Decoder::address(const Operand& o, u32 Inst::*field) {
  if (o.kind != Operand::Kind::memory || o.items.size() != 1) refuse("an address in brackets is expected");
  address_part(o.items[0], field);
}

void Decoder::tensor_address(const Operand& o, u32 Inst::*field, size_t dimensions) {
  if (o.kind != Operand::Kind::memory || o.items.size() != 2 || o.items[1].kind != Operand::Kind::list ||
      o.items[1].items.size() != dimensions)
    refuse(fmt::format("[map, {{{} coordinates}}] is expected", dimensions));
  address_part(o.items[0], field);
  begin_list(dimensions);
  source_list(o.items[1], Type::s32, false);
}

void Decoder::address_part(const Operand& base, u32 Inst::*field) {
  inst.wide_address = 1;
  if (base.kind == Operand::Kind::number) {
    builder_.refer(field, builder_.constant(base.bits, 8), false);
    return;
  }
  if (base.kind != Operand::Kind::name) refuse("this address is not supported");
  const std::optional<Symbol> s = builder_.find(base.name);
  if (!s || s->kind == Symbol::Kind::predicate) refuse(fmt::format("'{}' is no address", base.name));
  if (s->kind == Symbol::Kind::reg) {
    const int bytes = builder_.register_bytes(s->number);
    if (bytes < 4) refuse("an address register has 32 or 64 bits");
    inst.wide_address = bytes == 8;
    inst.offset = base.offset;
    builder_.refer(field, s->number, false);
    return;
  }
  if (s->kind == Symbol::Kind::parameter && s->space == Space::local) inst.space = Space::local;
  builder_.refer(field, builder_.constant(s->address + static_cast<u64>(base.offset), 8), false);
}

u64 Decoder::immediate(const Operand& o) const {
  if (o.kind != Operand::Kind::number) refuse("a number is expected");
  return o.bits;
}

void Decoder::label(const Operand& o) {
  if (o.kind != Operand::Kind::name) refuse("a label is expected");
  builder_.branch(o.name, nullptr);
}

void Decoder::label_list(const Operand& o) {
  const std::vector<std::string_view>* targets = o.kind == Operand::Kind::name ? builder_.targets(o.name) : nullptr;
  if (!targets) refuse("a list of branch targets is expected");
  begin_list(targets->size());
  for (size_t i = 0; i < targets->size(); i++) builder_.branch((*targets)[i], const_cast<u32*>(inst.list) + i);
}

bool Decoder::in_kernel() const { return builder_.in_kernel(); }

void Decoder::return_slot(u32 Inst::*field) { builder_.refer(field, builder_.return_slot(), false); }

Symbol Decoder::parameter(const Operand& o) const {
  const std::optional<Symbol> s = o.kind == Operand::Kind::name ? builder_.find(o.name) : std::nullopt;
  if (!s || s->kind != Symbol::Kind::parameter || s->space != Space::local) refuse("a parameter of a call is expected");
  return *s;
}

bool Decoder::perturb() const { return builder_.perturb(); }

DecodeFunction find_decoder(std::string_view opcode) {
  static const std::unordered_map<std::string_view, DecodeFunction> table = [] {
    std::unordered_map<std::string_view, DecodeFunction> t;
    for (const OpcodeList* list : {&integer_opcodes, &field_opcodes, &logic_opcodes, &float_opcodes, &convert_opcodes,
                                   &compare_opcodes, &move_opcodes, &memory_opcodes, &atomic_opcodes, &warp_opcodes,
                                   &control_opcodes, &async_opcodes, &mbarrier_opcodes, &matrix_opcodes,
                                   &wgmma_opcodes, &cluster_opcodes})
      for (const OpcodeEntry& e : *list) t.emplace(e.opcode, e.decode);
    return t;
  }();
  const auto it = table.find(opcode);
  return it == table.end() ? nullptr : it->second;
}

}  // namespace vgpu
