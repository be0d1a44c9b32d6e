#include "vgpu/runtime/runtime.h"

#include <fatbinary_section.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <set>

#include "vgpu/runtime/host_access.h"
#include "vgpu/runtime/report.h"

namespace vgpu {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

uint64_t read_number(const char* name) {
  std::string text = environment(name);
  if (text.empty()) return 0;
  size_t used = 0;
  uint64_t number = 0;
  try {
    number = std::stoull(text, &used);
  } catch (const std::exception&) {
  }
  if (used != text.size()) refuse(fmt::format("{} takes a number but is '{}'", name, text));
  return number;
}

bool lists_leak(const std::string& checks) {
  return checks == "all" || ("," + checks + ",").find(",leak,") != std::string::npos;
}

std::string list_images(const std::vector<Image>& images) {
  std::string text;
  for (const Image& image : images) {
    text += fmt::format("{}{} for sm_{}{}", text.empty() ? "" : ", ", image.kind == Image::Kind::ptx ? "PTX" : "SASS",
                        image.sm,
                        image.arch_specific     ? "a"
                        : image.family_specific ? "f"
                                                : "");
  }
  return text.empty() ? "nothing" : text;
}

// The SASS whose register counts come nearest to what the GPU would run.
const Image* nearest_sass(const std::vector<Image>& images, int sm) {
  const Image* best = nullptr;
  auto rank = [&](const Image& image) { return image.sm <= sm ? image.sm : -image.sm; };
  for (const Image& image : images) {
    if (image.kind != Image::Kind::sass) continue;
    if (!best || rank(image) > rank(*best)) best = &image;
  }
  return best;
}

void handle_fault(Runtime& runtime, const Report& report) {
  std::fflush(stdout);
  std::string text = report.text;
  if (!text.empty() && text.back() != '\n') text += '\n';
  std::fputs(text.c_str(), stderr);
  if (report.kind != "assert" && report.kind != "trap") end_program();
  runtime.sticky = report.kind == "assert" ? cudaErrorAssert : cudaErrorLaunchFailure;
}

}  // namespace

Settings read_settings() {
  Settings settings{};
  std::string gpu = environment("VGPU_GPU"), checks = environment("VGPU_CHECK");
  if (checks.empty()) checks = "all";
  try {
    settings.gpu = &gpu_named(gpu.empty() ? "h100" : gpu);
    settings.machine.checks = parse_checks(checks);
  } catch (const std::exception& error) {
    refuse(error.what());
  }
  settings.check_leaks = lists_leak(checks);
  settings.machine.schedule = read_number("VGPU_SCHEDULE");
  settings.machine.threads = static_cast<int>(read_number("VGPU_THREADS"));
  settings.machine.perturb = !environment("VGPU_PERTURB").empty();
  settings.machine.sm_count = static_cast<uint32_t>(settings.gpu->sm_count);
  settings.machine.max_shared_per_block = static_cast<uint32_t>(settings.gpu->shared_per_block_optin);
  settings.counts_file = environment("VGPU_COUNTS");
  settings.report_file = environment("VGPU_REPORT");
  return settings;
}

std::string program_name() {
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  return length > 0 ? std::string(path, static_cast<size_t>(length)) : "the program";
}

cudaError_t& last_error() {
  thread_local cudaError_t error = cudaSuccess;
  return error;
}

// Never destroyed: static objects of the program may still free memory after main.
Runtime& Runtime::get() {
  static auto* runtime = new Runtime;
  return *runtime;
}

Runtime::Runtime()
    : settings(read_settings()),
      gpu(*settings.gpu),
      machine(settings.machine),
      timeline(settings.machine.schedule),
      allocator(machine.memory(), gpu.memory_bytes),
      accounting(!settings.counts_file.empty() || !settings.report_file.empty()) {
  report_host_access();
  machine.on_fault([this](const Report& report) { handle_fault(*this, report); });
}

void Runtime::wait_for(const OperationPtr& operation) {
  timeline.complete(operation);
  allocator.arena().close();
}

void Runtime::wait_for(Stream& stream) {
  timeline.complete(stream);
  allocator.arena().close();
}

void Runtime::wait_for_all() {
  timeline.complete_all();
  allocator.arena().close();
}

FatBinary& Runtime::add_binary(const void* wrapper) {
  const auto& header = *static_cast<const __fatBinC_Wrapper_t*>(wrapper);
  if (header.magic != FATBINC_MAGIC) refuse(program_name() + ": no fat binary where one is registered");
  auto binary = std::make_unique<FatBinary>();
  try {
    if (header.version == FATBINC_LINK_VERSION) {
      for (auto part = static_cast<void**>(header.filename_or_fatbins); *part; ++part) {
        binary->parts.push_back(read_fat_binary(*part));
      }
    } else {
      binary->parts.push_back(read_fat_binary(header.data));
    }
  } catch (const std::exception& error) {
    refuse(program_name() + ": " + error.what());
  }
  binaries_.push_back(std::move(binary));
  return *binaries_.back();
}

void Runtime::add_function(FatBinary& binary, const void* host, std::string name) {
  for (const auto& part : binary.parts) {
    if (part.empty() || best_ptx(part, gpu.sm())) continue;
    refuse(
        fmt::format("{} has no PTX that {} (sm_{}) could run, it holds {}; build it with -gencode "
                    "arch=compute_80,code=[sm_80,compute_80]",
                    program_name(), gpu.key, gpu.sm(), list_images(part)));
  }
  auto function = std::make_unique<DeviceFunction>(DeviceFunction{&binary, std::move(name), nullptr, {}, 0, -1});
  handles_[function.get()] = function.get();
  functions_[host] = std::move(function);
}

void Runtime::add_variable(FatBinary& binary, const void* host, std::string name) {
  variables_[host] = {&binary, std::move(name)};
}

void Runtime::load(FatBinary& binary) {
  if (binary.loaded) return;
  binary.loaded = true;
  for (const auto& part : binary.parts) {
    try {
      if (const Image* ptx = best_ptx(part, gpu.sm())) binary.modules.push_back(&machine.load(image_bytes(*ptx)));
      if (const Image* sass = nearest_sass(part, gpu.sm())) {
        binary.resources.merge(read_cubin(image_bytes(*sass), sass->sm));
      }
    } catch (const std::exception& error) {
      refuse(program_name() + ": " + error.what());
    }
  }
}

void Runtime::resolve(DeviceFunction& function) {
  if (function.kernel) return;
  load(*function.binary);
  for (Module* module : function.binary->modules) {
    function.kernel = module->find_kernel(function.name);
    if (function.kernel) break;
  }
  require(function.kernel, cudaErrorInvalidDeviceFunction);
  auto resources = function.binary->resources.find(function.name);
  if (resources != function.binary->resources.end()) function.resources = resources->second;
  size_t fixed = function.kernel->static_shared;
  function.max_dynamic_shared = fixed < shared_per_block_default ? shared_per_block_default - fixed : 0;
}

DeviceFunction& Runtime::function(const void* host) {
  DeviceFunction* function = nullptr;
  if (auto found = functions_.find(host); found != functions_.end()) {
    function = found->second.get();
  } else if (auto handle = handles_.find(host); handle != handles_.end()) {
    function = handle->second;
  }
  require(function, cudaErrorInvalidDeviceFunction);
  resolve(*function);
  return *function;
}

Module::Symbol Runtime::symbol(FatBinary& binary, const std::string& name) {
  load(binary);
  for (Module* module : binary.modules) {
    Module::Symbol symbol = module->find_symbol(name);
    if (symbol.address) return symbol;
  }
  throw CudaError{cudaErrorInvalidSymbol};
}

Module::Symbol Runtime::symbol(const void* host) {
  auto found = variables_.find(host);
  require(found != variables_.end(), cudaErrorInvalidSymbol);
  return symbol(*found->second.binary, found->second.name);
}

Stream& stream_of(Runtime& runtime, cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return runtime.timeline.legacy();
  if (handle == cudaStreamPerThread) return runtime.timeline.per_thread();
  auto* stream = reinterpret_cast<Stream*>(handle);
  require(runtime.timeline.exists(stream), cudaErrorInvalidResourceHandle);
  return *stream;
}

}  // namespace vgpu
