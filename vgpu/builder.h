// Builds the Program of a kernel: the functions that it calls first (so that lanes inside of one have the lowest pc and
// rejoin their caller), then its own body. Registers of a function have fixed places, which is why recursion is
// refused.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "vgpu/code.h"
#include "vgpu/decoder.h"
#include "vgpu/registers.h"
#include "vgpu/syntax.h"

namespace vgpu {

// What a name of the PTX stands for.
struct Symbol {
  enum class Kind : u8 { reg, predicate, address, parameter };
  Kind kind = Kind::reg;
  u32 number = 0;  // virtual register, predicate
  Space space = Space::generic;
  u64 address =
      0;  // address: of a variable; parameter: offset in the lane's local memory or in the kernel's parameter block
  u32 bytes = 0;
};

struct ModuleText {
  const Unit* unit = nullptr;
  const std::unordered_map<std::string_view, u64>* addresses = nullptr;  // of .global and .const variables
  const std::vector<std::string>* files = nullptr;                       // by number
  bool perturb = false;
};

// A failure with its place; the module turns it into a report.
struct BuildError {
  int line = 0;
  std::string_view statement;
  std::string what;
};

class Builder {
 public:
  Builder(const ModuleText& module, const FunctionText& kernel);
  std::unique_ptr<Program> build();

  // For Decoder.
  std::optional<Symbol> find(std::string_view name) const;
  u32 constant(u64 bits, int bytes);                  // the virtual register that holds it
  std::optional<u32> special(std::string_view name);  // %tid.x and the like
  int register_bytes(u32 reg) const { return registers_[reg].bytes; }
  void refer(u32 Inst::*field, u32 reg, bool write);
  void refer(u32* list_entry, u32 reg, bool write);
  void branch(std::string_view label, u32* list_entry);  // null: the instruction's target
  u32* list(size_t size);                                // of the current instruction
  u32 new_register(int bytes);
  const std::vector<std::string_view>* targets(std::string_view label) const;  // of .branchtargets
  bool perturb() const { return module_.perturb; }
  Program& program() { return *program_; }

  // Calls: the callee's entry and its parameters' places in local memory.
  struct Function {
    const FunctionText* text = nullptr;
    u32 entry = 0, return_slot = 0;
    std::vector<Symbol> parameters, returns;
  };
  const Function* find_function(std::string_view name) const;
  bool in_kernel() const { return current_->text->entry; }
  u32 return_slot() const { return current_->return_slot; }
  void append(const Inst& inst) { appended_.push_back(inst); }  // after the current instruction

 private:
  struct Reference {
    u32 inst;
    u32 Inst::*field;  // or
    u32* entry;
    u32 reg;
    bool write;
  };
  struct BranchReference {
    u32 inst;
    u32* entry;
    std::string_view label;
    int line;
    std::string_view statement;
  };
  using Scope = std::unordered_map<std::string_view, Symbol>;

  void collect(const FunctionText& f);
  void lay_out_shared();
  void build_function(const FunctionText& f);
  void begin_function(const FunctionText& f);
  void end_function();
  void declare(const Statement& s);
  void declare_one(const Declaration& d);
  void add_instruction(const Statement& s);
  void read_location(const Statement& s);
  void assign_places();
  void list_uses(const std::vector<RegisterUse>& uses);
  Symbol local_variable(const Declaration& d);
  std::string_view keep(std::string text);

  ModuleText module_;
  const FunctionText& kernel_;
  std::unique_ptr<Program> program_;
  std::vector<const FunctionText*> order_, visiting_;
  std::map<std::string_view, Function, std::less<>> functions_;
  std::unordered_map<std::string_view, u64> shared_;  // offset of each shared variable
  std::map<std::pair<const FunctionText*, std::string_view>, u64> own_shared_;
  u64 static_shared_ = 0;

  Function* current_ = nullptr;
  std::vector<Scope> scopes_;
  std::unordered_map<std::string_view, u32> labels_;
  std::unordered_map<std::string_view, std::vector<std::string_view>> targets_;
  std::vector<BranchReference> branches_;
  std::string_view last_label_;

  std::vector<VirtualRegister> registers_;
  std::vector<Reference> references_;
  std::map<std::pair<u64, int>, u32> constants_;
  std::map<Special, u32> specials_;
  std::deque<std::string> kept_;

  std::vector<Inst> appended_;
  InstInfo place_;                                                          // of the statements that follow
  std::map<std::tuple<int, int, int>, std::tuple<int, int, int>> inlined_;  // place -> place of the call
};

}  // namespace vgpu
