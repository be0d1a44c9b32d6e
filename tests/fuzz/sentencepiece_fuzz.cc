// SentencePiece models: the protocol buffer, the normaliser's tables, and a text through both.
#include "tokenizer/sentencepiece.h"

#include "tests/fuzz/fuzz.h"

using namespace weft;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::accept_or_refuse([&] {
    const SentencePiece model = SentencePiece::parse(fuzz::view(data, size), "input");
    const std::vector<int> ids = model.encode("Červené tričko ﬁ, 12 \xff\xfe x");
    for (const int id : ids) {
      if (id < 0 || id >= model.size()) std::abort();
    }
    model.decode(ids);
  });
}
