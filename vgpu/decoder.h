// Turns one statement into an Inst. Each opcode has a function that takes the qualifiers that it knows and picks a
// handler; whatever it leaves over is refused, never guessed.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "vgpu/code.h"
#include "vgpu/syntax.h"
#include "vgpu/warp.h"

namespace vgpu {

class Builder;
struct Symbol;

// Why an instruction cannot run; becomes a report with its line.
struct Refusal {
  std::string what;
};

class Decoder {
 public:
  Decoder(Builder& builder, const Statement& statement, Inst& inst)
      : inst(inst), builder_(builder), statement_(statement) {}

  Inst& inst;

  [[noreturn]] void refuse(std::string what) const;

  // Qualifiers. `take` removes one if it is there; `take_one` one of several, or returns "".
  bool take(std::string_view qualifier);
  std::string_view take_one(std::initializer_list<std::string_view> qualifiers);
  std::string_view require_one(std::initializer_list<std::string_view> qualifiers);
  Type take_type();  // the next qualifier that is a type; refused if there is none
  Type take_type_or_none();
  void finish() const;  // refuses qualifiers that are left
  bool has_opcode(std::string_view opcode) const { return statement_.opcode == opcode; }

  // Operands.
  size_t size() const { return statement_.operands.size(); }
  const Operand& operand(size_t i) const { return statement_.operands[i]; }
  void expect(size_t least, size_t most) const;
  void expect(size_t n) const { expect(n, n); }

  // Registers of exactly `bytes`; a source may be a number (with the type's meaning) or a symbol's address.
  void dest(u32 Inst::*field, const Operand& o, int bytes);
  void source(u32 Inst::*field, const Operand& o, Type type);
  // A register of any width, which is returned; numbers get `bytes_of_number`.
  int dest_any(u32 Inst::*field, const Operand& o);
  int source_any(u32 Inst::*field, const Operand& o, Type type_of_number);
  // Elements of {..} or a single operand, appended to the instruction's list. Sinks become `sink`.
  static constexpr u32 sink = ~0u;
  int dest_list(const Operand& o, int bytes);  // bytes 0: any width, all the same; returns it
  int source_list(const Operand& o, Type type, bool any_width);
  void begin_list(size_t size);
  // Predicates: twice the number, plus 1 for !p; see predicate().
  void dest_predicate(u32 Inst::*field, const Operand& o);
  void source_predicate(u32 Inst::*field, const Operand& o);
  // The address operand [..] into inst.a, offset and wide_address. A constant address becomes a constant register.
  void address(const Operand& o) { address(o, &Inst::a); }
  void address(const Operand& o, u32 Inst::*field);
  // [map, {c0, c1, ..}] of a tensor copy: the address as above, the coordinates appended to the list.
  void tensor_address(const Operand& o, u32 Inst::*field, size_t dimensions);
  // A number known now.
  u64 immediate(const Operand& o) const;
  bool is_register(const Operand& o) const;
  bool perturb() const;

  // Control flow.
  void label(const Operand& o);        // the instruction's target
  void label_list(const Operand& o);   // .branchtargets into the list
  bool in_kernel() const;              // not in a device function
  void return_slot(u32 Inst::*field);  // of the device function
  Symbol parameter(const Operand& o) const;
  void call(std::string_view name, const std::vector<Symbol>& parameters, const std::vector<Symbol>& results);

 private:
  void address_part(const Operand& base, u32 Inst::*field);
  Builder& builder_;
  const Statement& statement_;
  u32 used_ = 0;  // qualifiers taken, a bit each
  size_t list_at_ = 0;
};

// The bits of a predicate operand; a store keeps the other lanes.
inline u32 predicate(const Warp& w, u32 operand) { return w.predicates[operand >> 1] ^ (u32{0} - (operand & 1)); }
inline void set_predicate(Warp& w, u32 operand, u32 mask, u32 bits) {
  u32& p = w.predicates[operand >> 1];
  p = (p & ~mask) | (bits & mask);
}

using DecodeFunction = void (*)(Decoder&);
DecodeFunction find_decoder(std::string_view opcode);  // null: unknown

// One list an area of the instruction set; each entry's file says what it covers.
struct OpcodeEntry {
  std::string_view opcode;
  DecodeFunction decode;
};
// Parts of cp.async, which has been taken: .bulk (ops_bulk.cc) and .mbarrier (ops_mbarrier.cc).
void decode_bulk(Decoder& d);
void decode_mbarrier_after_copies(Decoder& d);
// barrier.cluster, which has been taken (cluster.cc).
void decode_cluster_barrier(Decoder& d);

using OpcodeList = std::initializer_list<OpcodeEntry>;
extern const OpcodeList integer_opcodes, field_opcodes, logic_opcodes, float_opcodes, convert_opcodes, compare_opcodes,
    move_opcodes, memory_opcodes, atomic_opcodes, warp_opcodes, control_opcodes, async_opcodes, mbarrier_opcodes,
    matrix_opcodes, wgmma_opcodes, cluster_opcodes;

// Calls f with a value of the C++ type that a PTX type's lanes have.
template <class F>
auto with_integer(const Decoder& d, Type t, F f) {
  switch (t) {
    case Type::s16: return f(i16{});
    case Type::u16:
    case Type::b16: return f(u16{});
    case Type::s32: return f(i32{});
    case Type::u32:
    case Type::b32: return f(u32{});
    case Type::s64: return f(i64{});
    case Type::u64:
    case Type::b64: return f(u64{});
    default: d.refuse("type ." + std::string(type_name(t)) + " is not supported here");
  }
}

// Lane-wise operations. Op::call takes and returns elements.
template <class Op, class T>
void unary(Warp& w, const Inst& in, u32 m) {
  T* d = w.lanes<T>(in.d);
  const T* a = w.lanes<T>(in.a);
  each_lane(m, [&](int l) { d[l] = static_cast<T>(Op::call(a[l])); });
}

template <class Op, class T>
void binary(Warp& w, const Inst& in, u32 m) {
  T* d = w.lanes<T>(in.d);
  const T *a = w.lanes<T>(in.a), *b = w.lanes<T>(in.b);
  each_lane(m, [&](int l) { d[l] = static_cast<T>(Op::call(a[l], b[l])); });
}

template <class Op, class T>
void ternary(Warp& w, const Inst& in, u32 m) {
  T* d = w.lanes<T>(in.d);
  const T *a = w.lanes<T>(in.a), *b = w.lanes<T>(in.b), *c = w.lanes<T>(in.c);
  each_lane(m, [&](int l) { d[l] = static_cast<T>(Op::call(a[l], b[l], c[l])); });
}

}  // namespace vgpu
