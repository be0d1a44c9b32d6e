// A loaded PTX text: parsed at the first question, kernels built at their first launch.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "vgpu/builder.h"
#include "vgpu/machine.h"
#include "vgpu/syntax.h"

namespace vgpu {

struct Module::Impl {
  std::string text;
  Memory* memory = nullptr;
  bool perturb = false;
  std::function<void(const Report&)> fault;  // does not return

  std::recursive_mutex mutex;
  bool parsed = false;
  Unit unit;
  std::vector<std::string> files;
  struct Variable {
    std::unique_ptr<u8[]> storage;
    u8* data = nullptr;
    size_t bytes = 0;
  };
  std::map<std::string, Variable, std::less<>> variables;
  std::unordered_map<std::string_view, u64> addresses;
  std::map<std::string, Kernel, std::less<>> kernels;
  std::map<std::string, std::unique_ptr<Program>, std::less<>> programs;

  ~Impl();
  void parse();
  const Program& program(const Kernel& kernel);
  const FunctionText* function(std::string_view name) const;

 private:
  void place_variable(const Declaration& d);
  void initialise(const Declaration& d, Variable& v);
};

}  // namespace vgpu
