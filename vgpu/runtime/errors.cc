#include "vgpu/runtime/errors.h"

#include <unistd.h>

#include <cstdio>

namespace vgpu {
namespace {

struct ErrorEntry {
  cudaError_t code;
  const char* name;
  const char* text;
};

constexpr ErrorEntry error_table[] = {
#define CUDA_ERROR(code, text) {code, #code, text},
#include "vgpu/runtime/error_table.inc"
#undef CUDA_ERROR
};

const ErrorEntry* find_error(cudaError_t error) {
  for (const ErrorEntry& entry : error_table) {
    if (entry.code == error) return &entry;
  }
  return nullptr;
}

constexpr const char* unknown_error = "unrecognized error code";

}  // namespace

void end_program() {
  std::fflush(nullptr);
  _exit(1);
}

void refuse(const std::string& what) {
  std::fflush(stdout);
  std::fprintf(stderr, "vgpu: error: %s\n", what.c_str());
  end_program();
}

const char* error_name(cudaError_t error) {
  const ErrorEntry* entry = find_error(error);
  return entry ? entry->name : unknown_error;
}

const char* error_text(cudaError_t error) {
  const ErrorEntry* entry = find_error(error);
  return entry ? entry->text : unknown_error;
}

}  // namespace vgpu
