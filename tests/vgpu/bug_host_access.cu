// The host reads device memory as if it were its own.
#include "check.h"

int main(int argc, char** argv) {
  DeviceArray<int> x(std::vector<int>(64, 1));
  int first = fixed(argc, argv) ? x.host()[0] : x.data[0];  // expect: host access
  EXPECT(first == 1);
  return ok();
}
