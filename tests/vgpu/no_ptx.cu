// Built without PTX (see CMakeLists.txt): refused by the program's name.
#include "check.h"

__global__ void nothing() {}

int main() {
  nothing<<<1, 1>>>();
  return ok();
}
