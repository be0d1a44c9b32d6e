// JPEG and PNG. Pictures of at most 2^20 pixels, so that a run decodes many.
#include "data/image.h"

#include "tests/fuzz/fuzz.h"

using namespace weft;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::accept_or_refuse([&] {
    const Image image = decode_image({data, data + size}, "input", Alpha::over_white, {.pixels = 1 << 20});
    if (image.pixels.size() != size_t{3} * static_cast<size_t>(image.height) * static_cast<size_t>(image.width)) std::abort();
  });
}
