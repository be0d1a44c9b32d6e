// A library that is loaded when it is first asked for: cuBLAS alone would cost every start of every program 0.2 s and
// 200 MB if it were linked.
#pragma once

#include <dlfcn.h>

#include <stdexcept>
#include <string>

namespace weft {

class SharedLibrary {
 public:
  /// Found as the dynamic linker finds libraries. Stays loaded.
  explicit SharedLibrary(const std::string& name) : name_(name), handle_(dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (!handle_) throw std::runtime_error(std::string("cuda: ") + dlerror());
  }
  /// The function of that name, as the header declares it.
  template <class Function> void get(Function*& to, const char* symbol) const {
    to = reinterpret_cast<Function*>(dlsym(handle_, symbol));
    if (!to) throw std::runtime_error("cuda: " + name_ + " lacks " + symbol);
  }

 private:
  std::string name_;
  void* handle_;
};

}  // namespace weft
