// JSON configurations and lists of shards.
#include "tensor/json_file.h"

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"

using namespace weft;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::accept_or_refuse([&] { parse_json(fuzz::view(data, size), "input"); });
}
