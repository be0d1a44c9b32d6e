#include "vgpu/builder.h"

#include <algorithm>
#include <charconv>
#include <set>

#include <fmt/format.h>

namespace vgpu {
namespace {

u64 align_up(u64 value, u64 alignment) { return (value + alignment - 1) / alignment * alignment; }
u64 alignment_of(const Declaration& d) {
  return d.alignment ? static_cast<u64>(d.alignment) : std::max<u64>(1, type_bytes(d.type));
}
u64 bytes_of(const Declaration& d) {
  return static_cast<u64>(std::max<i64>(0, d.count)) * static_cast<u64>(type_bytes(d.type));
}

const std::map<std::string_view, Special> special_names = {
    {"%tid.x", Special::tid_x},
    {"%tid.y", Special::tid_y},
    {"%tid.z", Special::tid_z},
    {"%ntid.x", Special::ntid_x},
    {"%ntid.y", Special::ntid_y},
    {"%ntid.z", Special::ntid_z},
    {"%ctaid.x", Special::ctaid_x},
    {"%ctaid.y", Special::ctaid_y},
    {"%ctaid.z", Special::ctaid_z},
    {"%nctaid.x", Special::nctaid_x},
    {"%nctaid.y", Special::nctaid_y},
    {"%nctaid.z", Special::nctaid_z},
    {"%laneid", Special::laneid},
    {"%warpid", Special::warpid},
    {"%nwarpid", Special::nwarpid},
    {"%smid", Special::smid},
    {"%nsmid", Special::nsmid},
    {"%lanemask_eq", Special::lanemask_eq},
    {"%lanemask_lt", Special::lanemask_lt},
    {"%lanemask_le", Special::lanemask_le},
    {"%lanemask_gt", Special::lanemask_gt},
    {"%lanemask_ge", Special::lanemask_ge},
    {"%dynamic_smem_size", Special::dynamic_smem_size},
    {"%total_smem_size", Special::total_smem_size},
    // A launch without clusters is one of clusters of one block.
    {"%cluster_ctaid.x", Special::zero},
    {"%cluster_ctaid.y", Special::zero},
    {"%cluster_ctaid.z", Special::zero},
    {"%cluster_ctarank", Special::zero},
    {"%cluster_nctaid.x", Special::one},
    {"%cluster_nctaid.y", Special::one},
    {"%cluster_nctaid.z", Special::one},
    {"%cluster_nctarank", Special::one},
};

// Names that a body uses as operands of mov and the like; enough to see which shared variables belong to it.
void collect_names(const Operand& o, std::set<std::string_view>& names) {
  if (o.kind == Operand::Kind::name) names.insert(o.name);
  for (const Operand& item : o.items) collect_names(item, names);
}

bool in_toolkit(const std::string& file) {
  return file.find("cuda") != file.npos && file.find("/include/") != file.npos;
}

}  // namespace

Builder::Builder(const ModuleText& module, const FunctionText& kernel)
    : module_(module), kernel_(kernel), program_(std::make_unique<Program>()) {
  program_->name = std::string(kernel.name);
  program_->files = module.files;
}

std::unique_ptr<Program> Builder::build() {
  collect(kernel_);
  lay_out_shared();
  for (const FunctionText* f : order_) build_function(*f);
  assign_places();
  return std::move(program_);
}

// Post-order over the calls: callees before callers.
void Builder::collect(const FunctionText& f) {
  if (std::find(order_.begin(), order_.end(), &f) != order_.end()) return;
  if (std::find(visiting_.begin(), visiting_.end(), &f) != visiting_.end())
    throw BuildError{f.line, f.name, "recursion is not supported"};
  if (!f.unsupported.empty())
    throw BuildError{f.line, f.name, fmt::format("directive {} is not supported", f.unsupported)};
  visiting_.push_back(&f);
  BodyReader reader(f.body, f.body_line);
  for (Statement s = reader.next(); s.kind != Statement::Kind::end; s = reader.next()) {
    if (s.kind != Statement::Kind::instruction || s.opcode != "call") continue;
    for (const Operand& o : s.operands)
      if (o.kind == Operand::Kind::name)
        for (const FunctionText& g : module_.unit->functions)
          if (g.name == o.name && g.has_body) collect(g);
  }
  visiting_.pop_back();
  order_.push_back(&f);
}

// Shared variables of every function of the program one after another, then the array that the launch sizes.
void Builder::lay_out_shared() {
  u64 at = 0;
  std::set<std::string_view> used;
  for (const FunctionText* f : order_) {
    BodyReader reader(f->body, f->body_line);
    for (Statement s = reader.next(); s.kind != Statement::Kind::end; s = reader.next()) {
      if (s.kind == Statement::Kind::instruction)
        for (const Operand& o : s.operands) collect_names(o, used);
      if (s.kind != Statement::Kind::declaration || s.opcode != ".shared") continue;
      for (const Declaration& d : parse_declarations(s.text, s.line)) {
        at = align_up(at, alignment_of(d));
        own_shared_[{f, d.name}] = at;
        at += bytes_of(d);
      }
    }
  }
  std::vector<const Declaration*> external;
  for (const Declaration& d : module_.unit->variables) {
    if (d.space != "shared" || !used.contains(d.name)) continue;
    if (d.count < 0 || d.external) {
      external.push_back(&d);
      continue;
    }
    at = align_up(at, alignment_of(d));
    shared_[d.name] = at;
    at += bytes_of(d);
  }
  u64 alignment = 16;
  for (const Declaration* d : external) alignment = std::max(alignment, alignment_of(*d));
  if (!external.empty()) at = align_up(at, alignment);
  for (const Declaration* d : external) shared_[d->name] = at;
  program_->static_shared = static_cast<u32>(at);
}

Symbol Builder::local_variable(const Declaration& d) {
  program_->local_bytes = static_cast<u32>(align_up(program_->local_bytes, std::max<u64>(alignment_of(d), 4)));
  Symbol s;
  s.kind = Symbol::Kind::address;
  s.space = Space::local;
  s.address = program_->local_bytes;
  s.bytes = static_cast<u32>(bytes_of(d));
  program_->local_bytes += s.bytes;
  return s;
}

void Builder::begin_function(const FunctionText& f) {
  Function& function = functions_[f.name];
  current_ = &function;
  function.text = &f;
  function.entry = static_cast<u32>(program_->code.size());
  scopes_.assign(1, {});
  labels_.clear();
  targets_.clear();
  branches_.clear();
  place_ = {};
  place_.function = f.name;
  inlined_.clear();
  if (f.entry) {
    program_->entry = function.entry;
    u64 at = 0;
    for (const Declaration& d : f.parameters) {
      at = align_up(at, alignment_of(d));
      scopes_[0][d.name] = {Symbol::Kind::parameter, 0, Space::param, at, static_cast<u32>(bytes_of(d))};
      at += bytes_of(d);
    }
    return;
  }
  function.return_slot = new_register(4);
  for (const auto& [list, places] :
       {std::pair{&f.parameters, &function.parameters}, std::pair{&f.returns, &function.returns}})
    for (const Declaration& d : *list) {
      Symbol s = local_variable(d);
      s.kind = Symbol::Kind::parameter;
      places->push_back(s);
      scopes_[0][d.name] = s;
    }
}

void Builder::build_function(const FunctionText& f) {
  begin_function(f);
  BodyReader reader(f.body, f.body_line);
  for (Statement s = reader.next(); s.kind != Statement::Kind::end; s = reader.next()) {
    switch (s.kind) {
      case Statement::Kind::open: scopes_.emplace_back(); break;
      case Statement::Kind::close: scopes_.pop_back(); break;
      case Statement::Kind::declaration: declare(s); break;
      case Statement::Kind::location: read_location(s); break;
      case Statement::Kind::label:
        labels_[s.opcode] = static_cast<u32>(program_->code.size());
        last_label_ = s.opcode;
        break;
      case Statement::Kind::targets:
        if (s.opcode == ".branchtargets") {
          targets_[last_label_] = split_list(s.text.substr(s.opcode.size()));
        } else if (s.opcode != ".pragma") {
          throw BuildError{s.line, s.text, fmt::format("directive {} is not supported", s.opcode)};
        }
        break;
      case Statement::Kind::instruction: add_instruction(s); break;
      case Statement::Kind::end: break;
    }
  }
  end_function();
}

void Builder::end_function() {
  // A body may end without ret, after a call that does not return; running past it must not fall into the next
  // function.
  Statement ret;
  ret.line = current_->text->line;
  ret.text = "ret (end of the function)";
  ret.opcode = "ret";
  add_instruction(ret);
  for (const BranchReference& b : branches_) {
    const auto it = labels_.find(b.label);
    if (it == labels_.end()) throw BuildError{b.line, b.statement, fmt::format("no label '{}'", b.label)};
    (b.entry ? *b.entry : program_->code[b.inst].target) = it->second;
  }
}

void Builder::declare(const Statement& s) {
  for (const Declaration& d : parse_declarations(s.text, s.line)) declare_one(d);
}

void Builder::declare_one(const Declaration& d) {
  Scope& scope = scopes_.back();
  if (d.space == "reg") {
    const i64 n = d.range ? d.count : 1;
    for (i64 i = 0; i < n; i++) {
      Symbol s;
      if (d.type == Type::pred) {
        s.kind = Symbol::Kind::predicate;
        s.number = program_->predicates++;
      } else {
        s.number = new_register(std::max(2, type_bytes(d.type)));
      }
      scope[d.range ? keep(fmt::format("{}{}", d.name, i)) : d.name] = s;
    }
  } else if (d.space == "local" || d.space == "param") {
    Symbol s = local_variable(d);
    if (d.space == "param") s.kind = Symbol::Kind::parameter;
    scope[d.name] = s;
  } else if (d.space == "shared") {
    Symbol s;
    s.kind = Symbol::Kind::address;
    s.space = Space::shared;
    s.address = own_shared_.at({current_->text, d.name});
    scope[d.name] = s;
  } else {
    throw BuildError{d.line, d.name, fmt::format(".{} inside of a function is not supported", d.space)};
  }
}

void Builder::add_instruction(const Statement& s) {
  program_->code.emplace_back();
  program_->info.push_back(place_);
  program_->info.back().text = s.text;
  program_->info.back().ptx_line = s.line;
  Inst inst;
  const u32 index = static_cast<u32>(program_->code.size() - 1);
  const size_t first_reference = references_.size();
  try {
    Decoder decoder(*this, s, inst);
    if (!s.guard.empty()) {
      const std::optional<Symbol> guard = find(s.guard);
      if (!guard || guard->kind != Symbol::Kind::predicate)
        decoder.refuse(fmt::format("'{}' is no predicate", s.guard));
      inst.guard = guard->number;
      inst.guard_xor = s.guard_inverted ? full_mask : 0;
    }
    const DecodeFunction decode = find_decoder(s.opcode);
    if (!decode) decoder.refuse(fmt::format("instruction '{}' is not supported", s.opcode));
    decode(decoder);
    decoder.finish();
  } catch (const Refusal& r) {
    throw BuildError{s.line, s.text, r.what};
  } catch (const SyntaxError& e) {
    throw BuildError{s.line, s.text, e.what};
  }
  for (size_t i = first_reference; i < references_.size(); i++) references_[i].inst = index;
  program_->code[index] = inst;
  for (const Inst& extra : appended_) {
    const InstInfo info = program_->info.back();
    program_->code.push_back(extra);
    program_->info.push_back(info);
  }
  appended_.clear();
  program_->ordered = program_->ordered || inst.ordered;
  program_->fences = program_->fences || inst.fence;
  program_->async = program_->async || inst.async;
  program_->wgmma = program_->wgmma || inst.wgmma;
}

// .loc 2 449 9, function_name $L__info_string0, inlined_at 1 6 3
void Builder::read_location(const Statement& s) {
  int numbers[6] = {}, n = 0;
  bool inlined = s.text.find("inlined_at") != s.text.npos;
  const std::string_view name = "function_name";
  for (size_t i = 0; i < s.text.size() && n < 6;) {
    if (s.text.compare(i, name.size(), name) == 0) {  // its operand holds digits too
      i = s.text.find_first_of(",\n", i);
      if (i == s.text.npos) break;
    } else if (std::isdigit(static_cast<unsigned char>(s.text[i]))) {
      const auto [end, error] = std::from_chars(s.text.data() + i, s.text.data() + s.text.size(), numbers[n]);
      n++;
      i = static_cast<size_t>(end - s.text.data());
    } else {
      i++;
    }
  }
  inlined = inlined && n == 6;
  std::tuple<int, int, int> here{numbers[0], numbers[1], numbers[2]};
  if (inlined) {
    inlined_[here] = {numbers[3], numbers[4], numbers[5]};
  } else {
    inlined_.erase(here);
  }
  place_.file = place_.line = 0;
  for (int depth = 0; depth < 64; depth++) {
    const auto [file, line, column] = here;
    const bool toolkit =
        file > 0 && static_cast<size_t>(file) < module_.files->size() && in_toolkit((*module_.files)[file]);
    const auto caller = inlined_.find(here);
    if (!place_.file && (!toolkit || caller == inlined_.end())) {
      place_.file = file;
      place_.line = line;
    }
    place_.kernel_file = file;
    place_.kernel_line = line;
    if (caller == inlined_.end()) break;
    here = caller->second;
  }
}

std::optional<Symbol> Builder::find(std::string_view name) const {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope)
    if (const auto it = scope->find(name); it != scope->end()) return it->second;
  if (const auto it = shared_.find(name); it != shared_.end())
    return Symbol{Symbol::Kind::address, 0, Space::shared, it->second, 0};
  if (const auto it = module_.addresses->find(name); it != module_.addresses->end())
    return Symbol{Symbol::Kind::address, 0, Space::global, it->second, 0};
  return std::nullopt;
}

const Builder::Function* Builder::find_function(std::string_view name) const {
  const auto it = functions_.find(name);
  return it == functions_.end() ? nullptr : &it->second;
}

const std::vector<std::string_view>* Builder::targets(std::string_view label) const {
  const auto it = targets_.find(label);
  return it == targets_.end() ? nullptr : &it->second;
}

u32 Builder::new_register(int bytes) {
  registers_.push_back({bytes, false});
  return static_cast<u32>(registers_.size() - 1);
}

u32 Builder::constant(u64 bits, int bytes) {
  if (bytes < 8) bits &= (u64{1} << (8 * bytes)) - 1;
  const auto [it, fresh] = constants_.try_emplace({bits, bytes}, 0);
  if (fresh) {
    it->second = new_register(bytes);
    registers_.back().fixed = true;
  }
  return it->second;
}

std::optional<u32> Builder::special(std::string_view name) {
  const auto known = special_names.find(name);
  if (known == special_names.end()) return std::nullopt;
  const auto [it, fresh] = specials_.try_emplace(known->second, 0);
  if (fresh) {
    it->second = new_register(4);
    registers_.back().fixed = true;
  }
  return it->second;
}

void Builder::refer(u32 Inst::*field, u32 reg, bool write) { references_.push_back({0, field, nullptr, reg, write}); }
void Builder::refer(u32* entry, u32 reg, bool write) { references_.push_back({0, nullptr, entry, reg, write}); }

void Builder::branch(std::string_view label, u32* entry) {
  const InstInfo& info = program_->info.back();
  branches_.push_back({static_cast<u32>(program_->code.size() - 1), entry, label, info.ptx_line, info.text});
}

u32* Builder::list(size_t size) {
  program_->lists.emplace_back(size);
  return program_->lists.back().data();
}

std::string_view Builder::keep(std::string text) {
  kept_.push_back(std::move(text));
  return kept_.back();
}

void Builder::list_uses(const std::vector<RegisterUse>& uses) {
  Program& p = *program_;
  for (const VirtualRegister& r : registers_) p.register_widths.push_back(static_cast<u8>(r.bytes));
  size_t at = 0;
  for (u32 i = 0; i <= p.code.size(); i++) {
    p.use_begin.push_back(static_cast<u32>(p.uses.size()));
    for (; at < uses.size() && uses[at].inst == i; at++) p.uses.push_back(2 * uses[at].reg + uses[at].write);
  }
}

// Gives every register its place and writes the places into the instructions.
void Builder::assign_places() {
  std::vector<RegisterUse> uses;
  for (const Reference& r : references_)
    if (!registers_[r.reg].fixed) uses.push_back({r.inst, r.reg, r.write});
  if (program_->wgmma) list_uses(uses);
  RegisterPlan plan = place_registers(*program_, uses, registers_);
  for (const Reference& r : references_) (r.entry ? *r.entry : program_->code[r.inst].*r.field) = plan.offsets[r.reg];
  for (const auto& [key, reg] : constants_)
    program_->constants.push_back({plan.offsets[reg], static_cast<u8>(key.second), key.first, 0});
  for (const auto& [what, reg] : specials_) program_->specials.push_back({plan.offsets[reg], what});
  program_->register_bytes = plan.bytes;
  program_->cleared = std::move(plan.cleared);
}

}  // namespace vgpu
