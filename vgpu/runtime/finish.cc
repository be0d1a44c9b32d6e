// What the virtual GPU does when the program ends: leaks, reports, errors that nobody looked at.
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "vgpu/runtime/report.h"
#include "vgpu/runtime/runtime.h"

namespace vgpu {
namespace {

void write_file(const std::string& path, const std::string& text) {
  FILE* file = std::fopen(path.c_str(), "w");
  if (!file || std::fwrite(text.data(), 1, text.size(), file) != text.size() || std::fclose(file) != 0) {
    refuse(fmt::format("{}: {}", path, std::strerror(errno)));
  }
}

void write_reports(const Runtime& runtime) {
  const Settings& settings = runtime.settings;
  if (!settings.counts_file.empty()) {
    std::fputs(table_report(runtime.accounts, runtime.gpu).c_str(), stderr);
    write_file(settings.counts_file, json_report(runtime.accounts, runtime.gpu, program_name()));
  }
  if (!settings.report_file.empty()) {
    write_file(settings.report_file, html_report(runtime.accounts, runtime.gpu, program_name()));
  }
}

// Runs after the program's own static objects are gone: the runtime library is initialised before them.
__attribute__((destructor)) void finish() {
  Runtime& runtime = Runtime::get();
  std::fflush(nullptr);
  write_reports(runtime);
  bool failed = runtime.sticky != cudaSuccess;
  Allocator::Leaks leaks = runtime.allocator.leaks();
  if (runtime.settings.check_leaks && leaks.count && !failed) {
    std::fprintf(stderr, "vgpu: leak: %zu allocations of %zu bytes were never freed\n%s", leaks.count, leaks.bytes,
                 leaks.text.c_str());
    failed = true;
  }
  if (failed) end_program();
}

}  // namespace
}  // namespace vgpu
