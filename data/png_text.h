// Text that travels inside a PNG: chunks of type iTXt (https://www.w3.org/TR/png-3/#11iTXt), uncompressed UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

/// The PNG with one more text chunk after its header. `keyword` is 1 to 79 printable ASCII characters.
std::vector<uint8_t> add_png_text(const std::vector<uint8_t>& png, std::string_view keyword,
                                  std::string_view utf8_text);

/// The text of the first uncompressed iTXt chunk with that keyword; nothing if there is none. The file is checked whole
/// first (data/image.h); `name` begins the errors.
std::optional<std::string> find_png_text(const std::vector<uint8_t>& png, std::string_view keyword,
                                         std::string_view name);

}  // namespace weft
