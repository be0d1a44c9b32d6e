// What the test programs of the virtual GPU share. Each prints "ok" and ends with 0, or says what was wrong and ends
// with 3.
#pragma once

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

inline void expect(bool holds, const char* what, int line) {
  if (holds) return;
  std::fprintf(stderr, "line %d: %s does not hold\n", line, what);
  std::exit(3);
}

#define EXPECT(condition) expect(condition, #condition, __LINE__)
#define CUDA(call) EXPECT((call) == cudaSuccess)

inline int ok() {
  std::puts("ok");
  return 0;
}

/// Whether the program was asked to run without its planted error.
inline bool fixed(int argc, char** argv) { return argc > 1 && !std::strcmp(argv[1], "fixed"); }

/// Device memory, freed at the end of its scope.
template <class T>
struct DeviceArray {
  explicit DeviceArray(size_t count) : bytes(count * sizeof(T)) { CUDA(cudaMalloc(&data, bytes)); }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    CUDA(cudaMemcpy(data, values.data(), bytes, cudaMemcpyHostToDevice));
  }
  ~DeviceArray() { cudaFree(data); }
  DeviceArray(const DeviceArray&) = delete;

  std::vector<T> host() const {
    std::vector<T> values(bytes / sizeof(T));
    CUDA(cudaMemcpy(values.data(), data, bytes, cudaMemcpyDeviceToHost));
    return values;
  }

  T* data = nullptr;
  size_t bytes;
};
