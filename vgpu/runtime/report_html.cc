// The counts as one HTML page: a summary, then for every kernel its figures, its bound and its annotated source.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <vector>

#include "vgpu/runtime/report.h"

namespace vgpu {
namespace {

constexpr size_t most_annotated = 40;  // kernels; a page with more is not read
constexpr int context_lines = 2;

const char* const style = R"(
:root {
  --ink: #1d2530; --dim: #66717f; --line: #dfe3e8; --soft: #f5f6f8; --accent: #1f6f5c;
  --bad: #b3261e; --heat: 214, 122, 38;
}
body {
  font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: #fff;
  margin: 2rem auto; max-width: 78rem; padding: 0 1.5rem;
}
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .3rem; }
.dim, th { color: var(--dim); }
.bad { color: var(--bad); font-weight: 600; }
.notice { background: var(--soft); border-left: 4px solid var(--accent); padding: .6rem .9rem; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; }
td, th { padding: .22rem .55rem; border-bottom: 1px solid var(--line); text-align: right; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
th { font-weight: 500; vertical-align: bottom; }
td:first-child, th:first-child, td.text, th.text { text-align: left; }
a { color: var(--accent); text-decoration: none; }
.summary { overflow-x: auto; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .5rem; margin: .8rem 0; }
.figure { background: var(--soft); border-radius: 6px; padding: .5rem .7rem; }
.figure b { display: block; font-size: 1.08rem; font-weight: 600; }
.figure > span { color: var(--dim); font-size: .82rem; }
.bar {
  display: grid; grid-template-columns: 10rem 1fr 6rem; gap: .6rem;
  align-items: center; font-size: .85rem; margin: .12rem 0;
}
.bar div { height: .7rem; border-radius: 3px; background: var(--accent); min-width: 1px; }
.source { overflow-x: auto; margin-top: .8rem; }
.source td { border: 0; padding: .05rem .55rem; white-space: pre; }
.source td.text { font: 13px/1.4 ui-monospace, monospace; }
.source tr.gap td { color: var(--dim); text-align: left; }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--dim); }
)";

std::string escape(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string number(uint64_t value) {
  std::string digits = fmt::format("{}", value), out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string optional(uint64_t value) { return value ? number(value) : ""; }

uint64_t flop(const Counts& counts) { return counts.flop_fma + counts.flop_mufu + counts.flop_mma; }

// "x1.33" against the least that there could be; marked where it is over 5 % more.
std::string excess(uint64_t value, uint64_t least) {
  if (!least) return "";
  double ratio = static_cast<double>(value) / static_cast<double>(least);
  return fmt::format("<span{}>&times;{:.2f}</span>", ratio > 1.05 ? " class=bad" : "", ratio);
}

std::string shape(Dim3 d) {
  if (d.z > 1) return fmt::format("{}&times;{}&times;{}", d.x, d.y, d.z);
  return d.y > 1 ? fmt::format("{}&times;{}", d.x, d.y) : fmt::format("{}", d.x);
}

std::string plural(uint64_t count, const char* thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "es");
}

std::vector<std::string> read_lines(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::string summary(const Accounts& accounts) {
  std::string out =
      "<div class=summary><table><tr><th>kernel<th>grid<th>block<th>launches<th>warp "
      "instructions<th>FLOP<th>sectors<th>of the least"
      "<th>bank conflicts<th>registers<th>spilled<th>occupancy<th>bound, a launch<th class=text>limited by</tr>\n";
  size_t index = 0;
  for (const Account& a : accounts.all()) {
    const Counts& total = a.counts.total;
    uint64_t conflicts = total.shared_wavefronts - std::min(total.shared_wavefronts, total.shared_wavefronts_min);
    int spilled = spilled_bytes(a);
    out += fmt::format(
        "<tr><td><a href=\"#k{}\">{}</a><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td{}>{}<td>{}<td{}>{}<td>{:.0f} "
        "%<td>{}"
        "<td class=text>{}</tr>\n",
        index++, escape(without_namespaces(readable_name(a.name))), a.library ? "" : shape(a.grid),
        a.library ? "" : shape(a.block), a.counts.launches, number(total.instructions), number(flop(total)),
        number(total.global_sectors), excess(total.global_sectors, total.global_sectors_min),
        conflicts ? " class=bad" : "", number(conflicts), a.resources.registers, spilled ? " class=bad" : "", spilled,
        a.occupancy.fraction * 100, readable_seconds(a.bound.seconds), a.bound.limiter());
  }
  return out + "</table></div>\n";
}

std::string figure(const std::string& value, const std::string& label) {
  return fmt::format("<div class=figure><b>{}</b><span>{}</span></div>\n", value, label);
}

std::string figures(const Account& a) {
  const Counts& c = a.counts.total;
  uint64_t launches = std::max<uint64_t>(1, a.counts.launches);
  double lanes = c.instructions ? static_cast<double>(c.lanes) / static_cast<double>(c.instructions) : 0;
  std::string out = "<div class=figures>\n";
  out += figure(number(c.instructions), fmt::format("warp instructions, {:.1f} of 32 lanes active", lanes));
  out += figure(number(flop(c)), fmt::format("FLOP: {} plain, {} special, {} tensor", number(c.flop_fma),
                                             number(c.flop_mufu), number(c.flop_mma)));
  out += figure(number(c.global_bytes), "bytes asked of global memory by all lanes");
  out += figure(number(c.global_sectors) + " " + excess(c.global_sectors, c.global_sectors_min),
                fmt::format("32-byte sectors; the least is {}", number(c.global_sectors_min)));
  out += figure(number((a.counts.unique_read_bytes + a.counts.unique_written_bytes) / launches),
                "distinct bytes of a launch, read and written");
  out += figure(number(c.shared_wavefronts) + " " + excess(c.shared_wavefronts, c.shared_wavefronts_min),
                fmt::format("shared memory wavefronts; without conflicts {}", number(c.shared_wavefronts_min)));
  out += figure(number(c.barriers), "warps that came to a barrier");
  out += figure(fmt::format("{} of {}", number(c.divergent), number(c.branches)), "warp branches where lanes parted");
  out += figure(number(c.atomics), "atomics, by lane");
  std::string from = a.resources.sm ? fmt::format(" (ptxas, sm_{})", a.resources.sm) : " (no SASS to read them from)";
  out += figure(number(static_cast<uint64_t>(a.resources.registers)), "registers a thread" + from);
  int spilled = spilled_bytes(a);
  out += figure(fmt::format("<span{}>{}</span>", spilled ? " class=bad" : "", spilled),
                fmt::format("bytes a thread spilled; {} of arrays in local memory", a.local_bytes));
  out += figure(fmt::format("{} + {}", number(a.static_shared), number(a.dynamic_shared)),
                "bytes of shared memory a block, static and dynamic");
  out += figure(fmt::format("{:.0f} %", a.occupancy.fraction * 100),
                fmt::format("occupancy, {} blocks an SM; limit: {}", a.occupancy.blocks_per_sm, a.occupancy.limit));
  return out + "</div>\n";
}

std::string bound_bars(const Account& a) {
  std::string out = fmt::format("<p><b>Bound of a launch: {}</b>, set by {}. It is a bound, not a time.</p>\n",
                                readable_seconds(a.bound.seconds), a.bound.limiter());
  for (const Bound::Term& term : a.bound.terms) {
    if (term.seconds <= 0) continue;
    out += fmt::format("<div class=bar><span>{}</span><div style=\"width:{:.2f}%\"></div><span>{}</span></div>\n",
                       term.name, 100 * term.seconds / a.bound.seconds, readable_seconds(term.seconds));
  }
  return out;
}

std::string source_row(int line, const Counts* c, uint64_t hottest, const std::string& text) {
  if (!c) return fmt::format("<tr><td>{}<td><td><td><td><td><td><td><td><td class=text>{}</tr>\n", line, escape(text));
  double heat = hottest ? 0.55 * static_cast<double>(c->instructions) / static_cast<double>(hottest) : 0;
  return fmt::format(
      "<tr style=\"background:rgba(var(--heat),{:.3f})\"><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}"
      "<td class=text>{}</tr>\n",
      heat, line, optional(c->instructions), optional(flop(*c)), optional(c->global_bytes),
      excess(c->global_sectors, c->global_sectors_min), optional(c->shared_wavefronts),
      excess(c->shared_wavefronts, c->shared_wavefronts_min), optional(c->barriers), optional(c->divergent),
      escape(text));
}

std::string annotated_file(const std::string& path, const std::map<int, Counts>& lines, uint64_t hottest) {
  std::vector<std::string> text = read_lines(path);
  std::string out = fmt::format("<div class=source><p class=dim>{}{}</p><table>\n", escape(path),
                                text.empty() ? " (the file cannot be read here)" : "");
  out +=
      "<tr><th>line<th>instructions<th>FLOP<th>global bytes<th>sectors of the least<th>shared wavefronts<th>of the "
      "least"
      "<th>barriers<th>divergent<th class=text>source</tr>\n";
  int written = 0;
  for (auto next = lines.begin(); next != lines.end(); ++next) {
    int from = std::max(written + 1, next->first - context_lines);
    if (written && from > written + 1) out += "<tr class=gap><td colspan=10>&#8942;</tr>\n";
    auto after = std::next(next);
    int until = next->first + context_lines;
    if (after != lines.end()) until = std::min(until, after->first - 1);
    for (int line = from; line <= std::max(until, next->first); ++line) {
      bool known = line >= 1 && static_cast<size_t>(line) <= text.size();
      if (!known && line != next->first) continue;
      out += source_row(line, line == next->first ? &next->second : nullptr, hottest,
                        known ? text[static_cast<size_t>(line) - 1] : "");
    }
    written = std::max(until, next->first);
  }
  return out + "</table></div>\n";
}

std::string annotated_source(const Account& a) {
  std::map<std::string, std::map<int, Counts>> files;
  uint64_t hottest = 0;
  for (const auto& [place, counts] : counts_by_line(a.counts)) {
    if (!counts.instructions) continue;
    files[place.first][place.second] = counts;
    hottest = std::max(hottest, counts.instructions);
  }
  std::string out;
  for (const auto& [path, lines] : files) {
    if (path.empty()) {
      out += fmt::format("<p class=dim>{} warp instructions have no source line (compile with -lineinfo).</p>\n",
                         number(lines.begin()->second.instructions));
    } else {
      out += annotated_file(path, lines, hottest);
    }
  }
  return out;
}

std::string ptx_listing(const Account& a) {
  std::string out =
      "<details><summary>PTX</summary><div class=source><table>\n<tr><th>source line<th>executed<th>lanes<th>sectors"
      "<th>wavefronts<th class=text>instruction</tr>\n";
  for (const InstructionCounts& i : a.counts.instructions) {
    out += fmt::format("<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td class=text>{}</tr>\n",
                       i.line ? fmt::format("{}", i.line) : "", number(i.counts.instructions), number(i.counts.lanes),
                       optional(i.counts.global_sectors), optional(i.counts.shared_wavefronts), escape(i.text));
  }
  return out + "</table></div></details>\n";
}

// The kernels that take most of the modelled time are shown in full.
double least_seconds_shown(const Accounts& accounts) {
  std::vector<double> seconds;
  for (const Account& account : accounts.all()) seconds.push_back(account.seconds);
  if (seconds.size() <= most_annotated) return 0;
  std::ranges::sort(seconds, std::greater());
  return seconds[most_annotated - 1];
}

}  // namespace

std::string html_report(const Accounts& accounts, const Gpu& gpu, const std::string& program) {
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>{0}: "
      "counts</title><style>{1}</style></head><body>\n"
      "<h1>{0}</h1><p class=dim>Counted on the virtual GPU, bounds for {2} (sm_{3}).</p>\n<p class=notice>{4}</p>\n",
      escape(program.substr(program.rfind('/') + 1)), style, gpu.name, gpu.sm(), bound_notice);
  out += summary(accounts);
  double least = least_seconds_shown(accounts);
  size_t index = 0;
  for (const Account& a : accounts.all()) {
    std::string where = a.library ? "a library call" : fmt::format("grid {}, block {}", shape(a.grid), shape(a.block));
    out += fmt::format("<h2 id=k{}>{}</h2>\n<p class=dim>{}, {}</p>\n", index++, escape(readable_name(a.name)), where,
                       plural(a.counts.launches, "launch"));
    if (a.seconds < least) {
      out += "<p class=dim>Its bound is among the smallest: see the JSON counts.</p>\n";
      continue;
    }
    out += a.library ? bound_bars(a) : figures(a) + bound_bars(a) + annotated_source(a) + ptx_listing(a);
  }
  return out + "</body></html>\n";
}

}  // namespace vgpu
