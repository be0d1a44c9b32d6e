// JPEG and PNG, a PNG's text, and which way up they are. Pictures of at most 2^20 pixels, so that a run decodes many.
#include "data/orientation.h"
#include "data/png_text.h"

#include "tests/fuzz/fuzz.h"

using namespace weft;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::accept_or_refuse([&] { find_png_text({data, data + size}, "weft", "input"); });
  return fuzz::accept_or_refuse([&] {
    const Image image = decode_image({data, data + size}, "input", Alpha::over_white, {.pixels = 1 << 20});
    const Image upright = oriented(image, exif_orientation({data, data + size}));
    if (upright.pixels.size() != image.pixels.size()) std::abort();
    if (image.pixels.size() != size_t{3} * static_cast<size_t>(image.height) * static_cast<size_t>(image.width)) std::abort();
  });
}
