// The pickle machine alone, without the archive around it; objects of TorchScript classes are allowed.
#include "tensor/files/pickle.h"

#include "tests/fuzz/fuzz.h"

using namespace weft;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::accept_or_refuse([&] {
    const Pickle pickle(fuzz::view(data, size), "input", {.memory = (uint64_t{16} << 20) + size / 2, .torch_script = true});
    for (const PickleValue& value : pickle.items(pickle.root())) {
      if (value.is(PickleValue::Kind::text) && pickle.text(value).size() != value.length) std::abort();
    }
    pickle.find(pickle.root(), "model_state_dict");
  });
}
