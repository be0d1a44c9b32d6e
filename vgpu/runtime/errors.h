#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace vgpu {

/// Thrown inside an API call; the call returns the code, as the real one would.
struct CudaError {
  cudaError_t code;
};

inline void require(bool holds, cudaError_t otherwise = cudaErrorInvalidValue) {
  if (!holds) throw CudaError{otherwise};
}

/// Prints "vgpu: error: WHAT" on stderr and ends the program with exit code 1, without running its destructors.
[[noreturn]] void refuse(const std::string& what);

/// Ends the program as refuse() does, after something else was printed.
[[noreturn]] void end_program();

/// "cudaErrorInvalidValue" and "invalid argument"; for numbers that are no error, what the real library says.
const char* error_name(cudaError_t error);
const char* error_text(cudaError_t error);

}  // namespace vgpu
