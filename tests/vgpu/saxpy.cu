#include "check.h"

__global__ void saxpy(int n, float a, const float* x, float* y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}

int main() {
  const int n = 1000;
  std::vector<float> x(n), y(n);
  for (int i = 0; i < n; ++i) x[i] = i, y[i] = 2 * i;
  DeviceArray<float> dx(x), dy(y);
  saxpy<<<(n + 255) / 256, 256>>>(n, 3.0f, dx.data, dy.data);
  CUDA(cudaGetLastError());
  CUDA(cudaDeviceSynchronize());
  std::vector<float> result = dy.host();
  for (int i = 0; i < n; ++i) EXPECT(result[i] == 5.0f * i);
  return ok();
}
