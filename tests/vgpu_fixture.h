// Runs PTX snippets on the virtual GPU in tests.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "vgpu/machine.h"

namespace vgpu_test {

// A machine whose faults are thrown and whose warnings and output are kept.
struct Gpu {
  explicit Gpu(vgpu::Options options = {}) : machine(options) {
    machine.on_fault([](const vgpu::Report& r) { throw vgpu::Fault(r); });
    machine.on_warning([this](const vgpu::Report& r) { warnings.push_back(r); });
    machine.on_print([this](std::string_view text) { output += text; });
  }

  // Device memory that lives as long as the machine.
  template <class T>
  T* upload(const std::vector<T>& values) {
    T* p = allocate<T>(values.size());
    std::memcpy(p, values.data(), values.size() * sizeof(T));
    machine.memory().written(p, values.size() * sizeof(T));
    return p;
  }
  template <class T>
  T* allocate(size_t n) {
    storage.emplace_back(n * sizeof(T) + 256);
    char* p = storage.back().data();
    p += (256 - reinterpret_cast<uintptr_t>(p) % 256) % 256;
    machine.memory().add(p, n * sizeof(T), vgpu::MemoryKind::device, "array " + std::to_string(storage.size()));
    return reinterpret_cast<T*>(p);
  }

  template <class... Args>
  void launch(vgpu::Module& module, const char* kernel, vgpu::Dim3 grid, vgpu::Dim3 block, size_t shared,
              Args... args) {
    const vgpu::Kernel* k = module.find_kernel(kernel);
    if (!k) throw std::runtime_error("no kernel " + std::string(kernel));
    std::vector<char> parameters(k->parameter_bytes + 1);
    [[maybe_unused]] size_t i = 0;
    [[maybe_unused]] const auto put = [&](const auto& v) {
      if (sizeof v != k->parameters.at(i).bytes) throw std::runtime_error("a parameter has another size");
      std::memcpy(parameters.data() + k->parameters[i++].offset, &v, sizeof v);
    };
    (put(args), ...);
    vgpu::Launch l;
    l.kernel = k;
    l.grid = grid;
    l.block = block;
    l.dynamic_shared = shared;
    l.parameters = parameters.data();
    machine.launch(l);
  }

  std::vector<vgpu::Report> warnings;
  std::string output;
  std::vector<std::vector<char>> storage;
  vgpu::Machine machine;
};

inline const char* ptx_header = ".version 9.0\n.target sm_90\n.address_size 64\n";

}  // namespace vgpu_test
