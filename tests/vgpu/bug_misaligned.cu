// A 16-byte load from an address that is a multiple of 4 only.
#include "check.h"

__global__ void load(const float* x, float* y) {
  float4 v = *reinterpret_cast<const float4*>(x + 4 * threadIdx.x);  // expect: misaligned access
  y[threadIdx.x] = v.x + v.y + v.z + v.w;
}

int main(int argc, char** argv) {
  DeviceArray<float> x(std::vector<float>(132, 1)), y(32);
  load<<<1, 32>>>(x.data + (fixed(argc, argv) ? 0 : 1), y.data);
  CUDA(cudaDeviceSynchronize());
  return ok();
}
