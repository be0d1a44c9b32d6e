// PTX from nvcc, for tests of what it emits.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

namespace vgpu_test {

// Empty where there is no CUDA toolkit: the test says SKIPPED.
inline std::string find_nvcc() {
  for (const char* path : {"/usr/local/cuda/bin/nvcc", "/usr/bin/nvcc"})
    if (std::filesystem::exists(path)) return path;
  return "";
}

// The PTX of a .cu file for compute_ARCH.
inline std::string compile(const std::string& source, int arch) {
  char folder[] = "/tmp/vgpu_test_XXXXXX";
  if (!mkdtemp(folder)) throw std::runtime_error("no temporary folder");
  const std::string out = std::string(folder) + "/out.ptx", number = std::to_string(arch);
  const int status = std::system((find_nvcc() + " -std=c++20 -lineinfo -gencode arch=compute_" + number +
                                  ",code=compute_" + number + " -ptx " + source + " -o " + out)
                                     .c_str());
  std::ifstream file(out);
  std::stringstream text;
  text << file.rdbuf();
  std::filesystem::remove_all(folder);
  if (status != 0) throw std::runtime_error("nvcc failed");
  return text.str();
}

}  // namespace vgpu_test
