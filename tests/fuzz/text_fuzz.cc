// Any bytes as a text, cut into tokens by every tokenizer, with the models of tests/golden/tokenizers.
#include <algorithm>

#include "tests/fuzz/fuzz.h"
#include "tokenizer/tokenizer.h"

using namespace weft;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<Tokenizer> tokenizers = [] {
    std::vector<Tokenizer> list;
    for (const char* name : {"clip", "m2m100", "mt5", "xlm_roberta"}) {
      list.push_back(Tokenizer::load(std::filesystem::path(WEFT_TESTS) / "golden/tokenizers" / name));
    }
    return list;
  }();
  for (const Tokenizer& tokenizer : tokenizers) {
    const auto in_vocabulary = [&](int id) { return id >= 0 && id < tokenizer.size(); };
    const std::vector<int> ids = tokenizer.encode(fuzz::view(data, size)), whole = tokenizer.encode_special(fuzz::view(data, size)),
                           cut = tokenizer.encode_special(fuzz::view(data, size), 16);
    for (const auto* list : {&ids, &whole, &cut}) {
      if (!std::all_of(list->begin(), list->end(), in_vocabulary)) std::abort();
    }
    if (cut.size() > 16 || (whole.size() <= 16 && cut != whole)) std::abort();
    tokenizer.decode(ids);
  }
  return 0;
}
