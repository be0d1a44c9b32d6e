// CSV tables.
#include "data/csv.h"

#include "tests/fuzz/fuzz.h"

using namespace weft;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::MemoryFile input(fuzz::view(data, size));
  return fuzz::accept_or_refuse([&] {
    CsvReader reader(input.path());
    while (reader.next()) {
      if (reader.size() != reader.header().size()) std::abort();
      for (size_t field = 0; field < reader.size(); ++field) (void)reader[field];
    }
  });
}
