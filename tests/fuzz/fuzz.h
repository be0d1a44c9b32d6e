// What fuzz targets share. A target is `tests/fuzz/NAME_fuzz.cc` with one function: any bytes are either read or refused
// with a std::runtime_error of one line; whatever else happens ends the program and is found.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace weft::fuzz {

/// A file that lies in memory, for readers that take a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : descriptor_(memfd_create("input", MFD_CLOEXEC)) {
    size_t written = 0;
    while (descriptor_ >= 0 && written < bytes.size()) {
      const ssize_t n = write(descriptor_, bytes.data() + written, bytes.size() - written);
      if (n <= 0) std::abort();
      written += static_cast<size_t>(n);
    }
    if (descriptor_ < 0) std::abort();
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

/// Runs `read`; a refusal must be one line, and none for want of memory.
template <class Read>
int accept_or_refuse(const Read& read) {
  try {
    read();
  } catch (const std::runtime_error& error) {
    const std::string_view said = error.what();
    if (said.find('\n') != std::string_view::npos || said.size() > 2000 || said.starts_with("out of memory")) {
      std::fprintf(stderr, "a bad refusal: %s\n", error.what());
      std::abort();
    }
  }
  return 0;
}

inline std::string_view view(const uint8_t* data, size_t size) { return {reinterpret_cast<const char*>(data), size}; }

}  // namespace weft::fuzz
