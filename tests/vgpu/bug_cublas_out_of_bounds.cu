// expect: out of bounds
// A product whose result has a column more than there is memory for.
#include <cublas_v2.h>

#include "check.h"

int main(int argc, char** argv) {
  const int n = 16;
  DeviceArray<float> a(std::vector<float>(n * n, 1)), b(std::vector<float>(n * (n + 1), 1)), c(n * n);
  cublasHandle_t handle;
  EXPECT(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS);
  const float one = 1, zero = 0;
  int columns = fixed(argc, argv) ? n : n + 1;
  cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, n, columns, n, &one, a.data, n, b.data, n, &zero, c.data, n);
  CUDA(cudaDeviceSynchronize());
  cublasDestroy(handle);
  return ok();
}
