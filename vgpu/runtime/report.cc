#include "vgpu/runtime/report.h"

#include <cxxabi.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace vgpu {
namespace {

using nlohmann::ordered_json;

std::string shape(Dim3 d) {
  if (d.z > 1) return fmt::format("{}x{}x{}", d.x, d.y, d.z);
  return d.y > 1 ? fmt::format("{}x{}", d.x, d.y) : fmt::format("{}", d.x);
}

std::string ratio(uint64_t value, uint64_t least) {
  if (least == 0) return "-";
  return fmt::format("{:.2f}", static_cast<double>(value) / static_cast<double>(least));
}

ordered_json to_json(const Counts& c) {
  return {{"instructions", c.instructions},
          {"lanes", c.lanes},
          {"flop_fma", c.flop_fma},
          {"flop_special", c.flop_mufu},
          {"flop_tensor", c.flop_mma},
          {"global_requests", c.global_requests},
          {"global_bytes", c.global_bytes},
          {"global_sectors", c.global_sectors},
          {"global_sectors_min", c.global_sectors_min},
          {"shared_requests", c.shared_requests},
          {"shared_bytes", c.shared_bytes},
          {"shared_wavefronts", c.shared_wavefronts},
          {"shared_wavefronts_min", c.shared_wavefronts_min},
          {"local_bytes", c.local_bytes},
          {"atomics", c.atomics},
          {"barriers", c.barriers},
          {"branches", c.branches},
          {"divergent_branches", c.divergent}};
}

ordered_json to_json(const Account& a) {
  ordered_json terms = ordered_json::object();
  for (const Bound::Term& term : a.bound.terms) terms[term.name] = term.seconds;
  ordered_json lines = ordered_json::array();
  for (const auto& [place, counts] : counts_by_line(a.counts)) {
    ordered_json line = {{"file", place.first}, {"line", place.second}};
    line.update(to_json(counts));
    lines.push_back(std::move(line));
  }
  return {{"name", readable_name(a.name)},
          {"mangled", a.name},
          {"library_call", a.library},
          {"grid", {a.grid.x, a.grid.y, a.grid.z}},
          {"block", {a.block.x, a.block.y, a.block.z}},
          {"dynamic_shared", a.dynamic_shared},
          {"static_shared", a.static_shared},
          {"launches", a.counts.launches},
          {"registers", a.resources.registers},
          {"spilled_bytes", spilled_bytes(a)},
          {"stack_bytes", a.resources.stack_bytes},
          {"compiled_for", a.resources.sm ? fmt::format("sm_{}", a.resources.sm) : ""},
          {"blocks_per_sm", a.occupancy.blocks_per_sm},
          {"occupancy", a.occupancy.fraction},
          {"occupancy_limit", a.occupancy.limit},
          {"unique_read_bytes", a.counts.unique_read_bytes},
          {"unique_written_bytes", a.counts.unique_written_bytes},
          {"total", to_json(a.counts.total)},
          {"bound_seconds", a.bound.seconds},
          {"bound_limit", a.bound.limiter()},
          {"bound_terms_seconds", std::move(terms)},
          {"lines", std::move(lines)}};
}

}  // namespace

const char* const bound_notice =
    "The bound is no time: it is the least that a launch can take by its counts and the GPU's published peaks, from "
    "cold "
    "caches. Instructions are those of the PTX; ptxas merges some, so a bound by issue or shared memory may be a "
    "little high. "
    "Latency, cache hits and clocks are not modelled.";

std::string readable_name(const std::string& mangled) {
  int status = 0;
  char* demangled = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  if (!demangled) return mangled;
  std::string name = demangled;
  std::free(demangled);
  int depth = 0;
  size_t start = 0, end = name.size();
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (depth == 0 && name[i] == ' ') start = i + 1;
    if (depth == 0 && name[i] == '(' && name.compare(i, 21, "(anonymous namespace)") != 0) {
      end = i;
      break;
    }
    if (depth == 0 && name[i] == '(') i += 20;
  }
  return name.substr(start, end - start);
}

std::string without_namespaces(const std::string& name) {
  size_t from = 0;
  int depth = 0;
  for (size_t i = 0; i + 1 < name.size(); ++i) {
    depth += (name[i] == '<') - (name[i] == '>');
    if (depth == 0 && name[i] == ':' && name[i + 1] == ':') from = i + 2;
  }
  return name.substr(from);
}

std::string readable_seconds(double seconds) {
  if (seconds >= 1e-3) return fmt::format("{:.3g} ms", seconds * 1e3);
  if (seconds >= 1e-6) return fmt::format("{:.3g} us", seconds * 1e6);
  return fmt::format("{:.3g} ns", seconds * 1e9);
}

LineCounts counts_by_line(const KernelCounts& counts) {
  LineCounts lines;
  for (const InstructionCounts& instruction : counts.instructions) {
    lines[{instruction.file, instruction.line}] += instruction.counts;
  }
  return lines;
}

int spilled_bytes(const Account& account) {
  return std::max(0, account.resources.stack_bytes - static_cast<int>(account.local_bytes));
}

std::string table_report(const Accounts& accounts, const Gpu& gpu) {
  std::string text = fmt::format(
      "vgpu: counts on {}\n{:<32} {:>10} {:>9} {:>8} {:>13} {:>12} {:>12} {:>8} {:>8} {:>9} {:>5} {:>6} {:>5} {:>11} "
      "{}\n",
      gpu.name, "kernel", "grid", "block", "launches", "instructions", "FLOP", "sectors", "sect/min", "bank x",
      "divergent", "regs", "spills", "occ", "bound", "limit");
  for (const Account& a : accounts.all()) {
    const Counts& total = a.counts.total;
    std::string name = without_namespaces(readable_name(a.name));
    if (name.size() > 32) name = name.substr(0, 29) + "...";
    text += fmt::format(
        "{:<32} {:>10} {:>9} {:>8} {:>13} {:>12} {:>12} {:>8} {:>8} {:>9} {:>5} {:>6} {:>4.0f}% {:>11} {}\n", name,
        a.library ? "-" : shape(a.grid), a.library ? "-" : shape(a.block), a.counts.launches, total.instructions,
        total.flop_fma + total.flop_mufu + total.flop_mma, total.global_sectors,
        ratio(total.global_sectors, total.global_sectors_min),
        ratio(total.shared_wavefronts, total.shared_wavefronts_min), total.divergent,
        a.resources.registers ? fmt::format("{}", a.resources.registers) : "-", spilled_bytes(a),
        a.occupancy.fraction * 100, readable_seconds(a.bound.seconds), a.bound.limiter());
  }
  return text + "The bound is no time, but the least that a launch can take by its counts: docs/virtual-gpu.md\n";
}

std::string json_report(const Accounts& accounts, const Gpu& gpu, const std::string& program) {
  ordered_json kernels = ordered_json::array();
  for (const Account& account : accounts.all()) kernels.push_back(to_json(account));
  ordered_json report = {{"program", program},
                         {"gpu", gpu.key},
                         {"gpu_name", gpu.name},
                         {"notice", bound_notice},
                         {"kernels", std::move(kernels)}};
  return report.dump(2) + "\n";
}

}  // namespace vgpu
