#include "vgpu/machine.h"

#include <fmt/format.h>

namespace vgpu {

unsigned parse_checks(std::string_view list) {
  if (list == "all") return check_all;
  if (list == "none" || list.empty()) return 0;
  unsigned checks = 0;
  while (!list.empty()) {
    const size_t comma = list.find(',');
    const std::string_view word = list.substr(0, comma);
    list = comma == list.npos ? std::string_view{} : list.substr(comma + 1);
    if (word == "race") {
      checks |= check_race;
    } else if (word == "uninit") {
      checks |= check_uninit;
    } else if (word != "bounds" && word != "align" && word != "barrier" && word != "shuffle" && word != "leak") {
      throw std::invalid_argument(fmt::format(
          "[vgpu] a check is race, uninit, bounds, align, barrier, shuffle, leak, all or none, but '{}' was asked for",
          word));
    }
  }
  return checks;
}

Counts& Counts::operator+=(const Counts& other) {
  instructions += other.instructions;
  lanes += other.lanes;
  flop_fma += other.flop_fma;
  flop_mufu += other.flop_mufu;
  flop_mma += other.flop_mma;
  global_requests += other.global_requests;
  global_bytes += other.global_bytes;
  global_sectors += other.global_sectors;
  global_sectors_min += other.global_sectors_min;
  shared_requests += other.shared_requests;
  shared_bytes += other.shared_bytes;
  shared_wavefronts += other.shared_wavefronts;
  shared_wavefronts_min += other.shared_wavefronts_min;
  local_bytes += other.local_bytes;
  atomics += other.atomics;
  barriers += other.barriers;
  branches += other.branches;
  divergent += other.divergent;
  return *this;
}

}  // namespace vgpu
