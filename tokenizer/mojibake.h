// Text that was UTF-8 and was read as something else, put right as ftfy 6.3 does it.
#pragma once

#include <string>
#include <string_view>

namespace weft {

/// Whether the text has a sequence of characters that is likely mojibake (ftfy.badness.is_bad).
bool is_mojibake(std::u32string_view text);

/// ftfy.fix_encoding with its default settings. Where ftfy would recurse deeper than 32 times into parts of parts, they
/// stay as they are.
std::u32string fix_encoding(std::u32string text);

/// Control characters 0x80 to 0x9f become what Windows-1252 has there (ftfy.fixes.fix_c1_controls).
std::u32string fix_c1_controls(std::u32string text);

}  // namespace weft
