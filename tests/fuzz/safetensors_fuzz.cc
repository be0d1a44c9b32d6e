// safetensors: the header, and every tensor that it lists.
#include "tensor/safetensors.h"

#include "tests/fuzz/fuzz.h"

using namespace weft;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::MemoryFile input(fuzz::view(data, size));
  return fuzz::accept_or_refuse([&] {
    const Safetensors file(input.path());
    for (const auto& entry : file.entries()) {
      if (file.tensor(entry.name).shape() != entry.shape) std::abort();
    }
  });
}
