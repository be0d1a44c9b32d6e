// vocab.json of a Hugging Face tokenizer.
#include "tokenizer/vocabulary_json.h"

#include "tests/fuzz/fuzz.h"

using namespace weft;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::accept_or_refuse([&] {
    for (const auto& [text, id] : read_vocabulary_json(fuzz::view(data, size), "input")) {
      if (id < 0) std::abort();
    }
  });
}
