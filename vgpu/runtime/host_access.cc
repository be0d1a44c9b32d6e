#include "vgpu/runtime/host_access.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <signal.h>
#include <ucontext.h>

#include <cstdio>

#include "vgpu/runtime/runtime.h"

namespace vgpu {
namespace {

struct sigaction previous;

std::string code_place(void* context) {
  auto counter = static_cast<uint64_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
  Dl_info info;
  if (!dladdr(reinterpret_cast<void*>(counter), &info)) return fmt::format("{:#x}", counter);
  uint64_t offset = counter - reinterpret_cast<uint64_t>(info.dli_fbase);
  return fmt::format("{0}+{1:#x} (addr2line -fCe {0} {1:#x})", info.dli_fname, offset);
}

void handle(int signal, siginfo_t* info, void* context) {
  Runtime& runtime = Runtime::get();
  if (runtime.allocator.arena().contains(info->si_addr)) {
    auto allocation = runtime.machine.memory().find(info->si_addr);
    std::string what = "freed device memory";
    if (allocation) {
      uint64_t offset = reinterpret_cast<uint64_t>(info->si_addr) - allocation->address;
      what = fmt::format("{} + {}", allocation->name, offset);
    }
    std::fflush(stdout);
    std::fprintf(stderr, "vgpu: host access: the host touches device memory at %p = %s\n  here    %s\n", info->si_addr,
                 what.c_str(), code_place(context).c_str());
    end_program();
  }
  sigaction(signal, &previous, nullptr);  // not ours: the access is repeated and takes its old way
}

}  // namespace

void report_host_access() {
  static bool installed = false;
  if (installed) return;
  installed = true;
  struct sigaction action {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  sigaction(SIGSEGV, &action, &previous);
}

}  // namespace vgpu
