// PyTorch's zip archives, TorchScript, .npz and whatever else is told by its first bytes: every tensor is loaded, and the
// last byte of each is looked at.
#include "tensor/files/tensor_file.h"

#include "tests/fuzz/fuzz.h"

using namespace weft;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::MemoryFile input(fuzz::view(data, size));
  return fuzz::accept_or_refuse([&] {
    const TensorFile file(input.path());
    for (const auto& entry : file.entries()) {
      const Tensor tensor = file.load(entry);
      if (tensor.shape() != entry.shape || tensor.dtype() != entry.dtype) std::abort();
      if (tensor.numel() > 0) {
        const volatile char last = static_cast<const char*>(tensor.raw())[tensor.nbytes() - 1];
        (void)last;
      }
    }
  });
}
