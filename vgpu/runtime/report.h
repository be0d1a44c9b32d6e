#pragma once

#include <map>
#include <string>
#include <utility>

#include "vgpu/runtime/accounts.h"
#include "vgpu/runtime/gpu.h"

namespace vgpu {

/// The kernel's name as the source has it, without its parameters: "saxpy", "tile::gemm<float, 64>".
std::string readable_name(const std::string& mangled);
/// "gemm<tile::Large>" of "weft::gemm<tile::Large>".
std::string without_namespaces(const std::string& name);
/// "1.23 us", "45.6 ns".
std::string readable_seconds(double seconds);

/// Counts by source line, in the order of file and line; instructions without a line are under {"", 0}.
using LineCounts = std::map<std::pair<std::string, int>, Counts>;
LineCounts counts_by_line(const KernelCounts& counts);

/// Bytes of registers that ptxas spilled per thread: its stack frame without the arrays that the PTX declares.
int spilled_bytes(const Account& account);

std::string table_report(const Accounts& accounts, const Gpu& gpu);
std::string json_report(const Accounts& accounts, const Gpu& gpu, const std::string& program);
/// One page without other files; the sources are read from where -lineinfo says that they were.
std::string html_report(const Accounts& accounts, const Gpu& gpu, const std::string& program);

/// What a report of any form must say of its times.
extern const char* const bound_notice;

}  // namespace vgpu
