#include "vgpu/runtime/library_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "vgpu/runtime/work.h"

namespace vgpu {
namespace {

[[noreturn]] void report(const std::string& kind, const LibraryWork& work, const std::string& what) {
  std::fflush(stdout);
  std::fprintf(stderr, "vgpu: %s: %s\n  %s\n", kind.c_str(), work.name.c_str(), what.c_str());
  end_program();
}

void check_range(Runtime& runtime, const LibraryWork& work, const VgpuRange& range, bool read) {
  Memory& memory = runtime.machine.memory();
  const char* verb = read ? "reads" : "writes";
  auto* row = static_cast<const char*>(range.address);
  for (size_t y = 0; y < range.height && range.width; ++y, row += range.pitch) {
    if (!memory.find(row, range.width)) {
      auto start = memory.find(row);
      report("out of bounds", work,
             fmt::format("{} {} bytes at {}, row {} of {}, {}", verb, range.width, fmt::ptr(row), y, range.height,
                         start ? "past the end of " + start->name : "in no live allocation"));
    }
    if (read && (runtime.settings.machine.checks & check_uninit)) {
      if (auto byte = memory.first_uninitialised(row, range.width)) {
        report("uninitialised read", work, fmt::format("byte {} of row {} of {}", *byte, y, memory.find(row)->name));
      }
    }
  }
}

double total_bytes(const std::vector<VgpuRange>& ranges) {
  double bytes = 0;
  for (const VgpuRange& range : ranges) bytes += static_cast<double>(range.width) * static_cast<double>(range.height);
  return bytes;
}

}  // namespace

double run_library(Runtime& runtime, const LibraryWork& work) {
  for (const VgpuRange& range : work.reads) check_range(runtime, work, range, true);
  for (const VgpuRange& range : work.writes) check_range(runtime, work, range, false);
  work.compute();
  for (const VgpuRange& range : work.writes) {
    auto* row = static_cast<const char*>(range.address);
    for (size_t y = 0; y < range.height; ++y) runtime.machine.memory().written(row + y * range.pitch, range.width);
  }
  Account& account = runtime.accounts.find(work.name, {}, {}, 0);
  account.library = true;
  ++account.counts.launches;
  double read = total_bytes(work.reads), written = total_bytes(work.writes);
  account.counts.unique_read_bytes += static_cast<uint64_t>(read);
  account.counts.unique_written_bytes += static_cast<uint64_t>(written);
  account.counts.total.flop_mma += static_cast<uint64_t>(work.flop);
  account.bound.terms = {{"memory", (read + written) / runtime.gpu.memory_bandwidth},
                         {"tensor cores", work.flop / (runtime.gpu.mma_f16 * work.flop_rate_of_f16)}};
  std::ranges::stable_sort(account.bound.terms, [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  account.bound.seconds = account.bound.terms.front().seconds;
  account.seconds += account.bound.seconds;
  return account.bound.seconds;
}

}  // namespace vgpu

using namespace vgpu;

extern "C" cudaError_t vgpu_library_call(cudaStream_t stream, const VgpuLibraryCall* call) {
  std::shared_ptr<void> data(call->data, call->release);
  return api_call([&](Runtime& runtime) {
    LibraryWork work{call->name,
                     {call->reads, call->reads + call->read_count},
                     {call->writes, call->writes + call->write_count},
                     call->flop,
                     call->flop_rate_of_f16,
                     [data, compute = call->compute] { compute(data.get()); }};
    enqueue(runtime, stream_of(runtime, stream), std::move(work));
  });
}
