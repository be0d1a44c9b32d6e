// Bytes that are nearly UTF-8, read as ftfy 6.3 reads them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace weft {

/// Where a space stands in a sequence that would be UTF-8 with the byte 0xa0 in its place, puts that byte back.
std::string restore_byte_a0(std::string bytes);

/// Sequences of which bytes were lost (0x1a, or in places '?') become U+FFFD.
std::string replace_lossy_sequences(std::string_view bytes);

/// Decodes UTF-8; also surrogate pairs encoded one by one (CESU-8) and 0xc0 0x80 for U+0000. Nothing when it is
/// neither.
std::optional<std::u32string> decode_utf8_variants(std::string_view bytes);

}  // namespace weft
