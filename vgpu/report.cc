// The text of reports.
#include <cxxabi.h>

#include <cstdlib>

#include <fmt/format.h>

#include "vgpu/launch.h"

namespace vgpu {
namespace {

std::string demangle(const std::string& name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  std::string out = status == 0 && text ? text : name;
  std::free(text);
  return out;
}

std::string coordinates(u64 linear, const Dim3& d) {
  return fmt::format("({},{},{})", linear % d.x, linear / d.x % d.y, linear / (u64{d.x} * d.y));
}

std::string indent(const std::string& text) {
  std::string out = "  ";
  for (const char c : text) {
    out += c;
    if (c == '\n') out += "  ";
  }
  return out;
}

}  // namespace

std::string describe_source(const Program& p, u32 inst) {
  if (inst >= p.info.size()) return "(somewhere past instruction 65,535)";
  const InstInfo& info = p.info[inst];
  const auto place = [&](int file, int line) {
    return fmt::format("{}:{}", static_cast<size_t>(file) < p.files->size() && file > 0 ? (*p.files)[file] : "?", line);
  };
  std::string text = info.line ? place(info.file, info.line) : fmt::format("PTX line {}", info.ptx_line);
  if (info.kernel_line && (info.kernel_line != info.line || info.kernel_file != info.file))
    text += fmt::format(" (in {})", place(info.kernel_file, info.kernel_line));
  std::string ptx;
  for (const char c : info.text) ptx += c == '\n' || c == '\t' ? ' ' : c;
  return fmt::format("{}  `{}`", text, ptx);
}

std::string describe_place(const Warp& w, u64 block_linear, u32 thread, u32 inst) {
  const LaunchState& l = *w.block->launch;
  return fmt::format("block {} thread {}  {}", coordinates(block_linear, l.launch->grid),
                     coordinates(thread, l.launch->block), describe_source(*l.program, inst));
}

std::string describe_launch(const LaunchState& l) {
  const Dim3 &g = l.launch->grid, &b = l.launch->block;
  return fmt::format("kernel  {}  grid ({},{},{}) block ({},{},{}){}{}", demangle(l.kernel->name), g.x, g.y, g.z, b.x,
                     b.y, b.z, l.launch->label.empty() ? "" : "  ", l.launch->label);
}

void fault(const Warp& w, const Inst& in, int lane, std::string kind, std::string what, std::string extra) {
  const LaunchState& l = *w.block->launch;
  const u32 thread = w.index * warp_size + static_cast<u32>(std::max(lane, 0));
  std::string place = describe_place(w, w.block->linear, thread, inst_index(w, in));
  if (lane < 0)
    place = fmt::format("block {} warp {}  {}", coordinates(w.block->linear, l.launch->grid), w.index,
                        describe_source(*l.program, inst_index(w, in)));
  std::string text = fmt::format("vgpu: {}: {}\n  {}\n  here    {}", kind, what, describe_launch(l), place);
  if (!extra.empty()) text += "\n" + indent(extra);
  throw Fault({std::move(kind), std::move(text)});
}

}  // namespace vgpu
