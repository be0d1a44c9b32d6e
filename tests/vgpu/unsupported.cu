// A call that the stand-in lacks: refused by its name.
#include "check.h"

int main() {
  cudaArray_t array;
  cudaChannelFormatDesc format{32, 0, 0, 0, cudaChannelFormatKindFloat};
  return cudaMallocArray(&array, &format, 4, 4);
}
