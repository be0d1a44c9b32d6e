#include "vgpu/module.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

namespace vgpu {
namespace {

u64 align_up(u64 value, u64 alignment) { return (value + alignment - 1) / alignment * alignment; }

u32 alignment_of(const Declaration& d) {
  return static_cast<u32>(d.alignment ? d.alignment : std::max(1, type_bytes(d.type)));
}

std::string quoted_line(std::string_view statement) {
  std::string s;
  for (const char c : statement) s += c == '\n' || c == '\t' ? ' ' : c;
  return s;
}

}  // namespace

Module::Impl::~Impl() {
  for (auto& [name, v] : variables) memory->remove(v.data, "its module was unloaded");
}

void Module::Impl::parse() {
  const std::lock_guard lock(mutex);
  if (parsed) return;
  parsed = true;
  try {
    unit = parse_unit(text);
    for (const auto& [number, path] : unit.files) {
      if (static_cast<size_t>(number) >= files.size()) files.resize(static_cast<size_t>(number) + 1);
      files[static_cast<size_t>(number)] = path;
    }
    for (const Declaration& d : unit.variables)
      if (d.space != "shared") place_variable(d);
    for (const Declaration& d : unit.variables)
      if (d.space != "shared" && !d.initialiser.empty()) initialise(d, variables.find(d.name)->second);
  } catch (const SyntaxError& e) {
    fault({"unsupported instruction", fmt::format("vgpu: unsupported instruction: {}\n  PTX line {}", e.what, e.line)});
  }
  for (const FunctionText& f : unit.functions) {
    if (!f.entry) continue;
    Kernel k;
    k.name = std::string(f.name);
    k.max_threads = f.max_threads;
    u64 at = 0;
    for (const Declaration& d : f.parameters) {
      at = align_up(at, alignment_of(d));
      const u32 bytes = static_cast<u32>(d.count) * static_cast<u32>(type_bytes(d.type));
      k.parameters.push_back({static_cast<u32>(at), bytes});
      at += bytes;
    }
    k.parameter_bytes = static_cast<u32>(at);
    kernels.emplace(k.name, std::move(k));
  }
}

void Module::Impl::place_variable(const Declaration& d) {
  if (d.external) throw SyntaxError{d.line, fmt::format("external variable '{}' is not supported", d.name)};
  const size_t bytes = static_cast<size_t>(std::max<i64>(d.count, 0)) * static_cast<size_t>(type_bytes(d.type));
  const auto [it, fresh] = variables.try_emplace(std::string(d.name));
  if (!fresh) return;
  Variable& v = it->second;
  v.bytes = bytes;
  const size_t alignment = std::max<size_t>(256, alignment_of(d));
  v.storage = std::make_unique<u8[]>(bytes + 2 * alignment);  // variables start as zero
  v.data = reinterpret_cast<u8*>(align_up(reinterpret_cast<u64>(v.storage.get()), alignment));
  addresses.emplace(d.name, reinterpret_cast<u64>(v.data));
  memory->add(v.data, bytes, MemoryKind::symbol, fmt::format("{} of {} bytes", d.name, bytes), true);
}

// {1, 2}, nested or not, numbers, names of variables, generic(name), each perhaps plus an offset.
void Module::Impl::initialise(const Declaration& d, Variable& v) {
  const size_t size = static_cast<size_t>(type_bytes(d.type));
  size_t at = 0;
  const auto put = [&](auto&& self, std::string_view item) -> void {
    item = trim(item);
    if (item.empty()) return;
    if (item.front() == '{') {
      for (const std::string_view part : split_list(item.substr(1, item.size() - 2))) self(self, part);
      return;
    }
    u64 offset = 0;
    if (item.starts_with("generic(")) {
      const size_t close = item.find(')');
      const std::string_view rest = trim(item.substr(close + 1));
      if (!rest.empty()) offset = parse_integer(rest, d.line);
      item = trim(item.substr(8, close - 8));
    }
    const Operand o = parse_operand(item, d.line);
    u64 bits = o.bits;
    if (o.kind == Operand::Kind::name) {
      const auto found = addresses.find(o.name);
      if (found == addresses.end()) throw SyntaxError{d.line, fmt::format("initial value '{}' is not supported", item)};
      bits = found->second + static_cast<u64>(o.offset) + offset;
    } else if (o.kind != Operand::Kind::number || (o.literal == 'd' && size != 8) || (o.literal == 'f' && size != 4)) {
      throw SyntaxError{d.line, fmt::format("initial value '{}' is not supported", item)};
    }
    if (at + size > v.bytes) throw SyntaxError{d.line, fmt::format("too many initial values of '{}'", d.name)};
    std::memcpy(v.data + at, &bits, size);
    at += size;
  };
  put(put, d.initialiser);
}

const FunctionText* Module::Impl::function(std::string_view name) const {
  const auto it = std::find_if(unit.functions.begin(), unit.functions.end(),
                               [&](const FunctionText& f) { return f.name == name && f.has_body; });
  return it == unit.functions.end() ? nullptr : &*it;
}

const Program& Module::Impl::program(const Kernel& kernel) {
  const std::lock_guard lock(mutex);
  std::unique_ptr<Program>& p = programs[kernel.name];
  if (p) return *p;
  const FunctionText* text = function(kernel.name);
  try {
    Builder builder({&unit, &addresses, &files, perturb}, *text);
    p = builder.build();
    return *p;
  } catch (const BuildError& e) {
    fault(
        {"unsupported instruction", fmt::format("vgpu: unsupported instruction: {}\n  kernel  {}\n  PTX line {}: `{}`",
                                                e.what, kernel.name, e.line, quoted_line(e.statement))});
  } catch (const SyntaxError& e) {
    fault({"unsupported instruction",
           fmt::format("vgpu: unsupported instruction: {}\n  kernel  {}\n  PTX line {}", e.what, kernel.name, e.line)});
  }
  throw std::logic_error("unreachable");
}

Module::Module(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Module::~Module() = default;

const Kernel* Module::find_kernel(std::string_view name) {
  impl_->parse();
  const auto it = impl_->kernels.find(name);
  if (it == impl_->kernels.end()) return nullptr;
  Kernel& k = it->second;
  if (!k.code) {
    k.code = &impl_->program(k);
    k.static_shared = k.code->static_shared;
    k.local_bytes = k.code->local_bytes;
  }
  return &k;
}

std::vector<std::string> Module::kernel_names() {
  impl_->parse();
  std::vector<std::string> names;
  for (const auto& [name, k] : impl_->kernels) names.push_back(name);
  return names;
}

Module::Symbol Module::find_symbol(std::string_view name) {
  impl_->parse();
  const auto it = impl_->variables.find(name);
  if (it == impl_->variables.end()) return {};
  return {it->second.data, it->second.bytes};
}

}  // namespace vgpu
