// NumPy's .npy: header, order and values.
#include "tensor/files/npy.h"

#include <memory>

#include "tests/fuzz/fuzz.h"

using namespace weft;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::accept_or_refuse([&] {
    const NpyArray array = parse_npy(fuzz::view(data, size), "input");
    const Tensor tensor = npy_tensor(array, std::make_shared<int>(), "input");
    if (tensor.shape() != array.shape) std::abort();
  });
}
