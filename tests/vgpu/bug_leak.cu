// expect: leak
#include "check.h"

int main(int argc, char** argv) {
  int* x;
  CUDA(cudaMalloc(&x, 12345));
  if (fixed(argc, argv)) CUDA(cudaFree(x));
  return ok();
}
