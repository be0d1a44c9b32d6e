// CLIP's merges, packed by gzip or not, and a text cut by them.
#include "tokenizer/clip_tokenizer.h"

#include "tests/fuzz/fuzz.h"

using namespace weft;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::accept_or_refuse([&] {
    const ClipTokenizer tokenizer = ClipTokenizer::parse(fuzz::view(data, size), "input");
    const std::vector<int> ids = tokenizer.encode("a photo of the red t-shirt, číslo 12 \xff");
    for (const int id : ids) {
      if (id < 0 || id >= tokenizer.size()) std::abort();
    }
    tokenizer.decode(ids);
  });
}
